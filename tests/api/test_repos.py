"""`/api/repos` over HTTP: what a person does with their repositories, and what they cannot do."""

import base64
import json
from contextlib import ExitStack

import pytest

from api.searches import PER_USER
from lightning.repositories.process import SLOW_AT_A_TIME
from tests.api.conftest import assert_problem, serving
from tests.contract.repository_kits import git
from tests.lightning.repositories.git_server import GitServer

PASSWORD = "canary-of-a-git-token"
URL = "https://git.example.com/team/notes.git"


def create(person, name="notes", **fields):
    answer = person.request("POST", "/api/repos", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(person, path, content=b"one\n", name="notes", **parameters):
    query = {"path": path, **parameters}
    return person.request("PUT", f"/api/repos/{name}/file", params=query, content=content)


def read(person, path, **parameters):
    query = {"path": path, **parameters}
    return person.request("GET", "/api/repos/notes/file", params=query)


def commit(person, name="notes", **fields):
    body = {"message": "m", **fields}
    return person.request("POST", f"/api/repos/{name}/commits", json=body)


def test_a_repository_from_its_creation_to_its_end(person):
    # When somebody makes one
    made = create(person)
    assert set(made) == {"id", "name", "url", "credentials", "createdAt"}
    assert (made["name"], made["url"], made["credentials"]) == ("notes", None, False)

    # Then it is listed, and found by its id and its name
    assert person.get("/api/repos").json() == {"repositories": [made]}
    for name in (made["id"], "notes"):
        assert person.get(f"/api/repos/{name}").json() == {**made, "commit": None}
    assert_problem(person.request("POST", "/api/repos", json={"name": "notes"}), 409, "name_taken")

    # And is gone when it is deleted
    assert person.request("DELETE", "/api/repos/notes").status_code == 204
    assert person.get("/api/repos").json() == {"repositories": []}
    assert_problem(person.get(f"/api/repos/{made['id']}"), 404)


def test_files_go_in_and_come_out(person):
    create(person)
    content = b"\x00\xff not text\n"

    # When a file is written, and one beside it
    first = put(person, "deep/a b.bin", content).json()
    second = put(person, "x.md", b"# <script>\n", message="Say hello").json()

    # Then both are there as they were written, and a browser would not show them
    assert first["created"] is second["created"] is True
    listed = person.get("/api/repos/notes/files").json()
    assert [(each["path"], each["size"]) for each in listed["files"]] == [("deep/a b.bin", 12), ("x.md", 11)]
    assert listed["commit"] == second["commit"] == person.get("/api/repos/notes").json()["commit"]
    came = read(person, "deep/a b.bin")
    assert came.content == content
    assert came.headers["etag"] == f'"{listed["files"][0]["id"]}"'
    assert came.headers["lightning-commit"] == listed["commit"]
    assert came.headers["content-disposition"] == "attachment"
    assert came.headers["x-content-type-options"] == "nosniff"

    # And the history tells who wrote what
    log = person.get("/api/repos/notes/log").json()
    assert [(each["message"], each["author"]) for each in log["commits"]] == [
        ("Say hello", person.username),
        ("Write deep/a b.bin", person.username),
    ]
    diff = person.get("/api/repos/notes/diff").json()
    assert (diff["base"], diff["commit"]) == (first["commit"], second["commit"])
    assert [(each["path"], each["status"]) for each in diff["files"]] == [("x.md", "added")]
    assert "+# <script>" in diff["patch"]
    found = person.get("/api/repos/notes/search", q="SCRIPT", ignoreCase=1).json()
    assert [(each["path"], each["line"]) for each in found["matches"]] == [("x.md", 1)]

    # And it is removed again
    removed = person.request("DELETE", "/api/repos/notes/file", params={"path": "x.md"}).json()
    assert removed["created"]
    assert_problem(read(person, "x.md"), 404, "no_such_file")
    assert read(person, "x.md", at=second["commit"]).status_code == 200
    assert_problem(read(person, "x.md", at="1" * 40), 404, "no_such_commit")


def test_several_files_are_one_commit(person):
    create(person)
    files = [
        {"path": "a.txt", "text": "ä\n"},
        {"path": "b.bin", "base64": base64.b64encode(b"\x00").decode()},
        {"path": "run.sh", "text": "", "executable": True},
    ]
    assert commit(person, files=files).json()["created"]
    listed = person.get("/api/repos/notes/files").json()["files"]
    assert [(each["path"], each["kind"], each["size"]) for each in listed] == [
        ("a.txt", "file", 3),
        ("b.bin", "file", 1),
        ("run.sh", "executable", 0),
    ]
    assert commit(person, files=[{"path": "a.txt"}, {"path": "b.bin"}]).status_code == 200
    assert len(person.get("/api/repos/notes/log").json()["commits"]) == 2
    both = [{"path": "a.txt", "text": "", "base64": ""}]
    assert_problem(commit(person, files=both), 422, "invalid_field", pointer="/files/0/base64")
    wrong = [{"path": "a.txt", "base64": "?"}]
    assert_problem(commit(person, files=wrong), 422, "invalid_field", pointer="/files/0/base64")


def test_what_others_changed_is_never_overwritten(person):
    create(person)
    base = put(person, "a.txt").json()["commit"]
    put(person, "a.txt", b"two\n")

    # When somebody who saw the file before writes it
    answer = put(person, "a.txt", b"three\n", base=base)

    # Then they are told
    assert "a.txt" in assert_problem(answer, 409, "merge_conflict")["detail"]
    assert read(person, "a.txt").content == b"two\n"
    assert put(person, "b.txt", base=base).status_code == 200
    assert_problem(put(person, "b.txt", base="1" * 40), 409, "unknown_base")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config", "a/.GIT/x", "a\x00b", "x" * 1000])
def test_a_path_that_leads_elsewhere_is_refused(person, path):
    create(person)
    assert_problem(put(person, path), 400, "invalid_path")
    assert_problem(read(person, path), 400, "invalid_path")
    if "\0" not in path:  # of which JSON has none that is stored
        assert_problem(commit(person, files=[{"path": path, "text": ""}]), 400, "invalid_path")


def test_a_file_that_is_too_large_is_refused(person):
    create(person)
    assert put(person, "a", bytes(1024 * 1024)).status_code == 200
    assert_problem(put(person, "a", bytes(8 * 1024 * 1024 + 1)), 413, "too_large")


def test_nobody_takes_all_turns_of_searches(person, ingress):
    # Given somebody with as many searches under way as one may have
    create(person)
    put(person, "a.txt")
    other = ingress.person()
    create(other)
    put(other, "a.txt")
    with ExitStack() as under_way:
        for _ in range(PER_USER):
            under_way.enter_context(ingress.platform.searches.place(person.id))
        # When another one comes, then it is told to come again, and others search
        answer = person.get("/api/repos/notes/search", q="one")
        assert_problem(answer, 429, "too_many_searches")
        assert int(answer.headers["retry-after"]) > 0
        assert len(other.get("/api/repos/notes/search", q="one").json()["matches"]) == 1
    # And they have their places again, however often
    for _ in range(2 * PER_USER):
        assert len(person.get("/api/repos/notes/search", q="one").json()["matches"]) == 1
    assert PER_USER < SLOW_AT_A_TIME


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("files", {"limit": 0}),
        ("files", {"limit": "1.0"}),
        ("files", {"limit": "1_0"}),
        ("files", {"at": "main"}),
        ("files", {"at": "-x"}),
        ("file", {}),
        ("search", {}),
        ("search", {"q": "x", "regex": 2}),
        ("log", {"skip": -1}),
        ("diff", {"base": "HEAD^"}),
    ],
)
def test_a_wrong_parameter_is_refused(person, path, query):
    create(person)
    assert_problem(person.get(f"/api/repos/notes/{path}", **query), 400, "invalid_parameter")


def test_a_history_leaves_and_comes_back(person, tmp_path):
    create(person)
    assert_problem(person.get("/api/repos/notes/bundle"), 409, "empty_repository")
    put(person, "a.txt")

    # Given a clone in which somebody works
    bundle = person.get("/api/repos/notes/bundle")
    assert bundle.headers["content-disposition"] == 'attachment; filename="notes.bundle"'
    (tmp_path / "notes.bundle").write_bytes(bundle.content)
    git("clone", "-q", "notes.bundle", "notes", cwd=tmp_path)
    clone = tmp_path / "notes"
    (clone / "b.txt").write_text("from home\n")
    git("add", ".", cwd=clone)
    git("commit", "-qm", "at home", cwd=clone)
    git("bundle", "create", "back.bundle", "HEAD", "main", cwd=clone)

    # When they send it back
    data = (clone / "back.bundle").read_bytes()
    taken = person.request("PUT", "/api/repos/notes/bundle", content=data)

    # Then it is here
    assert taken.json()["created"]
    assert read(person, "b.txt").content == b"from home\n"
    assert_problem(person.request("PUT", "/api/repos/notes/bundle", content=b"x"), 400, "invalid_bundle")


def test_a_run_that_changed_nothing_is_not_undone(person):
    create(person)
    answer = person.request("POST", "/api/repos/notes/revert", json={"runID": "run-1"})
    assert_problem(answer, 404, "nothing_to_revert")
    answer = person.request("POST", "/api/repos/notes/revert", json={"runID": "a\nb"})
    assert_problem(answer, 422, "invalid_field", pointer="/runID")


def test_credentials_are_never_shown(person, ingress):
    # When a repository that lives elsewhere is registered with credentials
    given = {"username": "x", "password": PASSWORD}
    made = create(person, url=URL, credentials=given)

    # Then nothing tells them, and the store has them encrypted
    assert (made["url"], made["credentials"]) == (URL, True)
    shown = [person.get("/api/repos").text, person.get("/api/repos/notes").text, json.dumps(made)]
    assert PASSWORD not in "".join(shown)
    with ingress.accounts() as opened:
        storage = opened.storage
        ingress.catch_up(storage)
        stored = opened.run(storage.query("repos", person.id))
    assert len(stored.items) == 3
    assert PASSWORD not in str(stored)
    for wrong in ({"password": ""}, {"password": PASSWORD, "x": 1}, PASSWORD):
        answer = person.request("POST", "/api/repos", json={"name": "n", "url": URL, "credentials": wrong})
        assert answer.status_code == 422
        assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://git.example.com/x", "invalid_url"),
        ("https://user:pw@git.example.com/x", "invalid_url"),
        ("ext::sh -c id", "invalid_url"),
        ("-u", "invalid_url"),
        ("https://127.0.0.1/x", "address_refused"),
        ("https://169.254.169.254/x", "address_refused"),
    ],
)
def test_where_git_must_not_go_is_refused(person, url, code):
    answer = person.request("POST", "/api/repos", json={"name": "n", "url": url})
    assert_problem(answer, 422, code, pointer="/url")


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "a b", "x" * 65])
def test_a_name_is_one_word(person, name):
    answer = person.request("POST", "/api/repos", json={"name": name})
    assert_problem(answer, 422, "invalid_field", pointer="/name")


def test_a_program_may_read_and_not_write(person):
    create(person)
    draft = {"name": "reader", "scopes": ["repos:read"]}
    token = person.request("POST", "/api/service-tokens", json=draft).json()["token"]
    headers = {"authorization": f"Bearer {token}"}
    assert person.request("GET", "/api/repos/notes/files", headers=headers).status_code == 200
    refused = person.request("DELETE", "/api/repos/notes", headers=headers)
    assert_problem(refused, 403, "scope_missing")


def test_what_is_in_a_repository_outlives_the_ingress(tmp_path):
    # Given an ingress that wrote a file, and lost its copies
    with serving(tmp_path / "data") as ingress:
        writer = ingress.person()
        create(writer)
        put(writer, "a.txt")
        headers = writer.headers()
    copies = [*(tmp_path / "data/repos").iterdir()]
    assert len(copies) == 1
    copies[0].rename(tmp_path / "lost.git")

    # Then another one has it
    with serving(tmp_path / "data") as ingress:
        answer = ingress.http.get("/api/repos/notes/file", params={"path": "a.txt"}, headers=headers)
        assert answer.content == b"one\n"


def test_a_repository_that_lives_elsewhere_is_fetched_and_pushed_to(tmp_path):
    # Given a git server that asks who comes, and that the operator allows
    (tmp_path / "served").mkdir()
    with (
        GitServer(tmp_path / "served") as server,
        serving(tmp_path / "data", LIGHTNING_GIT_ALLOW="127.0.0.1") as ingress,
    ):
        server.commit("a.txt", "one\n")
        server.login = ("x", PASSWORD)
        person = ingress.person()
        create(person, url=server.url, credentials={"username": "x", "password": PASSWORD})
        assert person.get("/api/repos/notes/files").json()["files"] == []

        # When it is fetched, and changed
        fetched = person.request("POST", "/api/repos/notes/fetch")
        assert fetched.json()["commit"]
        assert read(person, "a.txt").content == b"one\n"
        assert put(person, "b.txt").json()["created"]

        # Then the change is there
        assert server.log() == ["Write b.txt", "write a.txt"]
        bundle = person.request("PUT", "/api/repos/notes/bundle", content=b"x")
        assert_problem(bundle, 409, "lives_elsewhere")

        # And a server that lets nobody in any more is told, while what was fetched stays
        server.login = ("x", "another")
        for answer in (put(person, "c.txt"), person.request("POST", "/api/repos/notes/fetch")):
            assert_problem(answer, 409, "remote_refused")
            assert PASSWORD not in answer.text
        assert read(person, "b.txt").status_code == 200


def test_a_repository_of_this_platform_needs_no_fetching(person):
    create(person)
    assert person.request("POST", "/api/repos/notes/fetch").json()["commit"] is None
