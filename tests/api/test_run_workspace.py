"""The workspace of a run, there and back, over HTTP: one commit, and nothing that an attacker would like."""

import gzip
import io
import random
import signal
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from api.transfers import MAX_TAR_BYTES, PER_USER
from lightning.repositories import NO_COMMIT
from tests.api.conftest import PATIENCE_SECONDS, assert_problem, process
from tests.api.runs import GoingRun, at_socket, repository_of, working
from tests.contract.repository_kits import tar_of

END = bytes(1024)


def write(person, repo, path, text):
    """Write a file, as its owner does while a run works."""
    answer = person.request("PUT", f"/api/repos/{repo}/file", params={"path": path}, content=text.encode())
    assert answer.status_code == 200, answer.text
    return answer.json()["commit"]


@pytest.fixture
def run(person):
    return working(person, *repository_of(person))


@pytest.fixture(scope="module")
def standing(ingress):
    """Give a run for whatever changes nothing."""
    person = ingress.person()
    return working(person, *repository_of(person))


def packed(files):
    return tar_of(files).getvalue()


def unpacked(answer):
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        return {each.name: tar.extractfile(each).read().decode() for each in tar}


def put(run, files, *, raw=None, **options):
    body = packed(files) if raw is None else raw
    return run.request("PUT", "/run/workspace", content=body, **options)


def repo_of(run):
    return run.document["workspace"]["repo"]


def read(run, path):
    return run.person.request("GET", f"/api/repos/{repo_of(run)}/file", params={"path": path}).text


def history(run):
    found = run.person.get(f"/api/repos/{repo_of(run)}/log").json()["commits"]
    return [each for each in found if each["runID"] == run.id], len(found)


class TestThere:
    def test_it_is_given_as_it_was_when_the_run_began(self, run):
        # Given somebody who changes the repository meanwhile
        base = run.document["workspace"]["base"]
        write(run.person, repo_of(run), "a.txt", "later\n")
        # When the run fetches its workspace, then it is that of its beginning
        answer = run.get("/run/workspace")
        assert unpacked(answer) == {"a.txt": "one\n", "b.txt": "two\n"}
        assert answer.headers["lightning-commit"] == base
        assert answer.headers["content-type"] == "application/x-tar"

    @pytest.mark.parametrize(
        ("accepts", "compressed"),
        [
            *(("gzip", True), ("br;q=1, GZIP ; q=0.5", True)),
            *(("gzip;q=0", False), ("gzip;q=0.00", False), ("identity", False), ("xgzip", False)),
        ],
    )
    def test_it_is_compressed_if_asked(self, standing, accepts, compressed):
        answer = standing.request("GET", "/run/workspace", headers={"accept-encoding": accepts})
        assert (answer.headers.get("content-encoding") == "gzip") is compressed
        assert unpacked(answer) == {"a.txt": "one\n", "b.txt": "two\n"}

    def test_of_an_empty_repository_it_is_empty(self, person):
        run = working(person, *repository_of(person, files={}))
        answer = run.get("/run/workspace")
        assert unpacked(answer) == {}
        assert answer.headers["lightning-commit"] == NO_COMMIT

    def test_a_large_one_goes_both_ways_through_the_socket(self, person):
        # Given more than any buffer on the way holds
        numbers = [str(random.Random(number).random()) for number in range(60_000)]
        files = {f"{part}.txt": "\n".join(numbers[part::4]) for part in range(4)}
        repo, base = repository_of(person, files={})
        with at_socket(person.ingress) as http:
            # When one run sends it, and another one fetches it
            shown = working(person, repo, base).headers()
            sent = http.put("/run/workspace", headers=shown, content=packed(files))
            assert sent.json()["created"], sent.text
            shown = working(person, repo, sent.json()["commit"]).headers()
            # Then it is the same
            assert unpacked(http.get("/run/workspace", headers=shown)) == files


class TestBack:
    def test_what_differs_becomes_one_commit(self, run):
        # When a run sends its workspace back
        answer = put(run, {"a.txt": "ONE\n", "new/c.txt": "c"}, params={"message": "Shout.\n\nLoudly."})
        # Then what differs is one commit of the run's
        assert answer.status_code == 200, answer.text
        [commit], _ = history(run)
        assert (answer.json()["commit"], answer.json()["created"]) == (commit["id"], True)
        assert (commit["eventID"], commit["author"]) == (run.task["id"], "echo")
        assert commit["message"] == (
            f"Shout.\n\nLoudly.\n\nLightning-Run: {run.id}\nLightning-Event: {run.task['id']}"
        )
        diff = run.person.get(f"/api/repos/{repo_of(run)}/diff").json()
        assert {each["path"]: each["status"] for each in diff["files"]} == {
            "a.txt": "changed",
            "b.txt": "deleted",
            "new/c.txt": "added",
        }

    def test_it_may_be_compressed(self, run):
        body = gzip.compress(packed({"a.txt": "ONE\n"}))
        answer = put(run, None, raw=body, headers={"content-encoding": "gzip"})
        assert answer.json()["created"], answer.text

    def test_without_a_message_it_names_agent_and_task(self, person):
        repo, base = repository_of(person)
        image = {"image": "registry.example/x:1\nLightning-Run: other", "command": ["x"]}
        for asked, named in (({}, "echo"), (image, "registry.example/x:1 Lightning-Run: other")):
            run = working(person, repo, base, **asked)
            assert put(run, {"a.txt": run.id, "b.txt": "two\n"}).status_code == 200
            [commit], _ = history(run)
            assert commit["message"].startswith(f"Work of {named} on task {run.task['id']}\n")
            base = commit["id"]

    @pytest.mark.parametrize("message", ["", "Lightning-Run: other", " \n", "x" * 1001])
    def test_a_message_that_cannot_be(self, standing, message):
        answer = put(standing, {}, params={"message": message})
        assert answer.status_code == 400
        assert history(standing)[0] == []

    def test_nothing_differs(self, standing):
        answer = put(standing, {"a.txt": "one\n", "b.txt": "two\n"})
        assert answer.json() == {"commit": standing.document["workspace"]["base"], "created": False}
        assert history(standing) == ([], 1)

    def test_the_same_again_is_answered_with_the_first(self, run):
        files = {"a.txt": "ONE\n"}
        first = put(run, files).json()
        write(run.person, repo_of(run), "later.txt", "x")
        assert put(run, files).json() == {"commit": first["commit"], "created": False}
        assert len(history(run)[0]) == 1

    def test_the_same_at_the_same_time_is_one_commit(self, run):
        body = packed({"a.txt": "ONE\n"})
        with ThreadPoolExecutor(PER_USER) as pool:
            answers = list(pool.map(lambda _: put(run, None, raw=body), range(PER_USER)))
        assert {each.json()["commit"] for each in answers} == {history(run)[0][0]["id"]}
        assert sorted(each.json()["created"] for each in answers) == [False] * (PER_USER - 1) + [True]
        assert len(history(run)[0]) == 1

    def test_other_files_are_refused_then(self, run):
        first = put(run, {"a.txt": "ONE\n"}).json()["commit"]
        problem = assert_problem(put(run, {"a.txt": "other\n"}), 409, "already_committed")
        assert first in problem["detail"]
        assert len(history(run)[0]) == 1

    def test_others_who_changed_something_else_are_kept(self, run):
        theirs = write(run.person, repo_of(run), "b.txt", "theirs\n")
        put(run, {"a.txt": "ONE\n", "b.txt": "two\n"})
        [commit], count = history(run)
        assert (commit["parents"], count) == ([theirs], 3)
        assert [read(run, "a.txt"), read(run, "b.txt")] == ["ONE\n", "theirs\n"]

    def test_others_who_changed_the_same_are_named(self, run):
        write(run.person, repo_of(run), "a.txt", "theirs\n")
        problem = assert_problem(put(run, {"a.txt": "ONE\n", "b.txt": "two\n"}), 409, "merge_conflict")
        assert "a.txt" in problem["detail"]
        assert "b.txt" not in problem["detail"]
        assert history(run) == ([], 2)
        assert read(run, "a.txt") == "theirs\n"


class TestRefused:
    def test_without_a_repository(self, person):
        run = GoingRun(person)
        assert_problem(run.get("/run/workspace"), 404, "no_repository")
        assert_problem(put(run, {"a": "1"}), 404, "no_repository")

    def test_whose_repository_was_deleted(self, run):
        run.person.request("DELETE", f"/api/repos/{repo_of(run)}")
        assert_problem(run.get("/run/workspace"), 404, "not_found")
        assert_problem(put(run, {"a": "1"}), 404, "not_found")

    def test_of_another_tenant(self, ingress, run):
        # Given somebody else's run that claims to work on the same repository
        base = run.document["workspace"]["base"]
        other = working(ingress.person(), repo_of(run), base)
        # Then it is as if there were none, and nothing is changed
        assert_problem(other.get("/run/workspace"), 404, "not_found")
        assert_problem(put(other, {"a": "1"}), 404, "not_found")
        assert history(run) == ([], 1)

    def test_that_ended_while_it_sent(self, run):
        # Given a run whose tar is on its way
        ended = threading.Event()

        def body():
            whole = packed({"a.txt": "ONE\n"})
            yield whole[:512]
            run.end()
            ended.set()
            yield whole[512:]

        answer = run.request("PUT", "/run/workspace", content=body())
        # When it is over before all has arrived, then nothing is committed
        assert ended.is_set()
        assert_problem(answer, 401, "invalid_token")
        assert history(run) == ([], 1)

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("../x", "invalid_path"),
            ("/etc/passwd", "invalid_path"),
            (".GIT/config", "invalid_path"),
            (".g\u200cit/hooks/post-commit", "invalid_path"),
        ],
    )
    def test_a_path_that_leads_elsewhere(self, standing, name, code):
        assert_problem(put(standing, {name: "x"}), 400, code)
        assert history(standing) == ([], 1)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_a_link_or_a_device(self, standing, kind):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as tar:
            info = tarfile.TarInfo("x")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        problem = assert_problem(put(standing, None, raw=target.getvalue()), 400, "not_a_file")
        assert "'x'" in problem["detail"]

    @pytest.mark.parametrize("size", [0, 1, 512, 1536])
    def test_one_that_is_cut_off(self, standing, size):
        # or all that is missing would count as removed
        assert_problem(put(standing, None, raw=packed({"a.txt": "x" * 600})[:size]), 400, "invalid_tar")
        assert history(standing) == ([], 1)

    @pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b, lambda b: b[1:], lambda _: b"x"])
    def test_what_gzip_does_not_write(self, standing, spoil):
        body = spoil(gzip.compress(packed({"a.txt": "x"})))
        answer = put(standing, None, raw=body, headers={"content-encoding": "gzip"})
        assert_problem(answer, 400, "invalid_tar")

    def test_an_encoding_that_nobody_knows(self, standing):
        answer = put(standing, {}, headers={"content-encoding": "br"})
        assert_problem(answer, 415, "unsupported_media_type")

    def test_a_bomb(self, standing):
        # Given little that unpacks to more than a tar may have
        body = gzip.compress(bytes(MAX_TAR_BYTES + 1), 9)
        assert len(body) < 1 << 20
        answer = put(standing, None, raw=body, headers={"content-encoding": "gzip"})
        assert_problem(answer, 413, "too_large")

    def test_too_many_at_a_time(self, run):
        # Given as many uploads as a user may have, none of which comes to an end
        go_on, begun = threading.Event(), threading.Semaphore(0)
        whole = packed({"a.txt": "one\n", "b.txt": "two\n"})

        def body():
            yield whole[:512]
            begun.release()
            go_on.wait(PATIENCE_SECONDS)
            yield whole[512:]

        def refused():
            return put(run, None, raw=whole).status_code == 429

        with ThreadPoolExecutor(PER_USER) as pool:
            going = [
                pool.submit(run.request, "PUT", "/run/workspace", content=body()) for _ in range(PER_USER)
            ]
            for _ in range(PER_USER):
                assert begun.acquire(timeout=PATIENCE_SECONDS)
            # When another one comes, then it is told to come again, and is taken once there is room
            seen = False
            for _ in range(100):
                seen = seen or refused()
            assert seen
            answer = run.get("/run/workspace")
            assert_problem(answer, 429, "too_many_transfers")
            assert int(answer.headers["retry-after"]) > 0
            go_on.set()
            assert {each.result().status_code for each in going} == {200}
        assert run.get("/run/workspace").status_code == 200


REPO = {"agent": "echo", "repo": "notes"}
LATER = {"agent": "echo", "onFailure": [{"type": "worker.task", "metadata": REPO}]}


class TestScopes:
    """A service token that may not write to repositories has no run do it."""

    def posted(self, person, scopes, metadata):
        named = {"name": "x", "scopes": scopes}
        token = person.request("POST", "/api/service-tokens", json=named).json()["token"]
        event = person.event(type="worker.task", metadata=metadata)
        headers = {"authorization": f"Bearer {token}"}
        return person.ingress.http.post("/api/events", json=event, headers=headers)

    @pytest.mark.parametrize(
        "metadata",
        [
            REPO,
            {"agent": "echo", "rollback": REPO},
            {"agent": "echo", "onSuccess": [{"type": "worker.task", "metadata": LATER}]},
        ],
    )
    def test_it_needs_the_scope_of_repositories(self, person, metadata):
        assert_problem(self.posted(person, ["events:write"], metadata), 403, "scope_missing")
        assert person.log() == []
        assert self.posted(person, ["events:write", "repos:write"], metadata).status_code == 202

    def test_a_replay_needs_it_too(self, person):
        # Given a task of a person's own
        task = person.post(person.event(type="worker.task", metadata=REPO)).json()
        named = {"name": "x", "scopes": ["events:write"]}
        token = person.request("POST", "/api/service-tokens", json=named).json()["token"]
        # When a service token has it worked on once more
        headers = {"authorization": f"Bearer {token}"}
        answer = person.ingress.http.post(f"/api/events/{task['id']}/replay", headers=headers)
        assert_problem(answer, 403, "scope_missing")

    def test_other_tasks_do_not(self, person):
        assert self.posted(person, ["events:write"], {"agent": "echo"}).status_code == 202


def cut_off(data, printed, run, body):
    """Send a workspace to an ingress of its own that dies before it answers."""
    dying = {"LIGHTNING_TESTING": "1", "LIGHTNING_CRASH_AT": "web/workspace:committed"}
    with process(data, printed, **dying) as http, pytest.raises(httpx2.TransportError):
        http.put("/run/workspace", content=body, headers=run.headers())


def test_an_ingress_that_dies_before_it_answers_commits_once(tmp_path, run):
    # Given a run whose ingress dies between the commit and its answer
    body = packed({"a.txt": "ONE\n"})
    with pytest.raises(AssertionError, match=str(int(-signal.SIGKILL))):
        cut_off(run.ingress.data, tmp_path / "printed", run, body)
    [committed], _ = history(run)
    # When it says the same again to another one
    again = put(run, None, raw=body).json()
    # Then there is one commit, and that is the answer
    assert again == {"commit": committed["id"], "created": False}
    assert len(history(run)[0]) == 1
