"""Agents whose task names a repository, against a platform that has one and no more than that."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.architecture.tree import ROOT

COMMIT = "c" * 40


class Platform(ThreadingHTTPServer):
    """A platform that gives files, and keeps what comes back."""

    daemon_threads = True

    def __init__(self):
        self.files = {"a.txt": "one\n", "deep/b.txt": "two\n", "run.sh": "#!/bin/sh\n"}
        self.received = []
        self.refusals = {"GET": [], "PUT": []}
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer(200, self._tar(), {"lightning-commit": "b" * 40})

    def do_PUT(self):
        assert self.headers["content-encoding"] == "gzip"
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        if not self.server.refusals["PUT"]:
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                found = {each.name: (tar.extractfile(each).read().decode(), each.mode) for each in tar}
            self.server.received.append(found)
        self._answer(200, json.dumps({"commit": COMMIT, "created": True}).encode(), {})

    def _tar(self):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as tar:
            for path, text in self.server.files.items():
                info = tarfile.TarInfo(path)
                info.size, info.mode = len(text), 0o755 if path.endswith(".sh") else 0o644
                tar.addfile(info, io.BytesIO(text.encode()))
        return target.getvalue()

    def _answer(self, status, body, headers):
        assert (self.path, self.headers["authorization"]) == ("/run/workspace", "Bearer token")
        if self.server.refusals[self.command]:
            status, problem = self.server.refusals[self.command].pop(0)
            if status == "cut":  # the first file arrives, and nothing of the others
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:600])
                self.close_connection = True
                return
            body, headers = json.dumps(problem).encode(), {}
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def platform():
    with Platform() as platform:
        thread = threading.Thread(target=platform.serve_forever, args=(0.01,))
        thread.start()
        yield platform
        platform.shutdown()
        thread.join()


@pytest.fixture
def agent(platform, tmp_path):
    """Run an agent in a directory of its own, as a container does."""
    work = tmp_path / "work"
    work.mkdir()

    def run(program, *, repo="notes", api=True, **variables):
        theirs = tmp_path / "theirs"
        theirs.mkdir(exist_ok=True)
        (theirs / "theirs.py").write_text(f"import os, pathlib, sys\n\n\ndef run(task):\n{program}")
        described = theirs / "theirs-1.0.dist-info"
        described.mkdir(exist_ok=True)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text("[lightning.agents]\nworker = theirs:run\n")
        there = {
            "LIGHTNING_API_URL": f"http://127.0.0.1:{platform.server_port}",
            "LIGHTNING_RUN_TOKEN": "token",
        }
        environment = {
            "PYTHONPATH": f"{ROOT}:{theirs}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(work),
            "LIGHTNING_TASK": json.dumps({"id": "1", "repo": repo}),
            **(there if api else {}),
            **variables,
        }
        command = [sys.executable, "-S", "-m", "agents", "worker"]
        return subprocess.run(
            command, env=environment, cwd=work, capture_output=True, text=True, timeout=60, check=False
        )

    run.work = work
    return run


def lines(*statements):
    return "".join(f"    {each}\n" for each in statements)


EDIT = lines("pathlib.Path('a.txt').write_text('ONE')", "return 0")


def test_it_works_in_the_repository_and_what_it_changed_is_sent(platform, agent):
    # When an agent changes a file, adds one and removes one
    ran = agent(
        lines(
            "assert pathlib.Path('deep/b.txt').read_text() == 'two\\n'",
            "assert os.access('run.sh', os.X_OK) and not os.access('a.txt', os.X_OK)",
            "os.remove('deep/b.txt')",
            "pathlib.Path('a.txt').write_text('ONE')",
            "pathlib.Path('new').mkdir()",
            "pathlib.Path('new/c.txt').write_text('c')",
            "os.chmod('new/c.txt', 0o700)",
            "return 0",
        )
    )
    # Then all of the files are sent, and the commit is told
    assert (ran.returncode, ran.stderr) == (0, "")
    [sent] = platform.received
    assert sent == {"a.txt": ("ONE", 0o644), "new/c.txt": ("c", 0o755), "run.sh": ("#!/bin/sh\n", 0o755)}
    assert COMMIT in ran.stdout


@pytest.mark.parametrize(
    "program",
    [
        lines("return 0"),
        lines("pathlib.Path('a.txt').write_text('one\\n')", "return 0"),
        # links, what belongs to git, and what programs keep at home are no part of it
        lines(
            "os.symlink('/etc/passwd', 'link')",
            "pathlib.Path('sub/.git').mkdir(parents=True)",
            "pathlib.Path('sub/.git/config').write_text('x')",
            "os.mkfifo('pipe')",
            "pathlib.Path.home().joinpath('.cache').write_text('x')",
            "return 0",
        ),
    ],
)
def test_where_nothing_was_changed_nothing_is_sent(platform, agent, program):
    ran = agent(program)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert platform.received == []


def test_an_agent_that_only_makes_a_file_one_to_be_run_changed_it(platform, agent):
    agent(lines("os.chmod('a.txt', 0o755)", "return 0"))
    [sent] = platform.received
    assert sent["a.txt"] == ("one\n", 0o755)


@pytest.mark.parametrize(
    ("last", "code"),
    [("return 3", 3), ("sys.exit(4)", 4), ("raise ValueError('no')", 1), ("sys.exit('no')", 1)],
)
def test_what_an_agent_that_failed_changed_is_not_sent(platform, agent, last, code):
    ran = agent(lines("pathlib.Path('a.txt').write_text('ONE')", last))
    assert ran.returncode == code
    assert platform.received == []


@pytest.mark.parametrize("last", ["sys.exit()", "sys.exit(0)"])
def test_an_agent_may_end_as_programs_do(platform, agent, last):
    assert agent(lines("pathlib.Path('a.txt').write_text('ONE')", last)).returncode == 0
    assert len(platform.received) == 1


def test_what_the_task_brought_is_left_as_it_is(platform, agent):
    # Given files of the task, one of them in the place of one of the repository's
    (agent.work / "input.csv").write_text("1,2\n")
    (agent.work / "changed.csv").write_text("1,2\n")
    (agent.work / "a.txt").write_text("the task's\n")
    # When the agent reads them, and changes one
    ran = agent(
        lines(
            "assert pathlib.Path('a.txt').read_text() == \"the task's\\n\"",
            "pathlib.Path('changed.csv').write_text('3')",
            "return 0",
        )
    )
    # Then what was only read is no part of what is sent
    assert (ran.returncode, ran.stderr) == (0, "")
    [sent] = platform.received
    assert {path: text for path, (text, _) in sent.items()} == {
        **platform.files,
        "a.txt": "the task's\n",
        "changed.csv": "3",
    }


def test_without_a_repository_nothing_is_asked(platform, agent):
    ran = agent(lines("print(os.listdir('.'))", "return 0"), repo=None)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")


def test_without_a_platform_it_does_not_begin(agent):
    ran = agent(lines("print('began')", "return 0"), api=False)
    assert (ran.returncode, ran.stdout) == (69, "")
    assert "run API" in ran.stderr


def test_a_workspace_that_is_not_to_be_had_is_told(platform, agent):
    platform.refusals["GET"] = [(404, {"code": "not_found", "detail": "there is no such repository"})]
    ran = agent(lines("print('began')", "return 0"))
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr == "The workspace cannot be fetched: there is no such repository\n"


def test_a_conflict_fails_the_run_and_is_told(platform, agent):
    platform.refusals["PUT"] = [(409, {"code": "merge_conflict", "detail": "others changed a.txt meanwhile"})]
    ran = agent(lines("print('done')") + EDIT)
    assert (ran.returncode, ran.stdout) == (73, "done\n")
    told = "What was changed in the workspace is not taken: others changed a.txt meanwhile\n"
    assert ran.stderr == told


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_platform_that_is_away_is_asked_again(platform, agent, method):
    away = (503, {"detail": "later"})
    platform.refusals[method] = [away, ("cut", {}) if method == "GET" else away]
    ran = agent(EDIT)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert platform.refusals[method] == []
    assert len(platform.received) == 1
