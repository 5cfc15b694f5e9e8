"""Workers are copies of one process that has loaded the tests, and processes like all others."""

import json
import os
import signal
import subprocess
from pathlib import Path

from ops.chaos.installation import until
from tests.guards.inner import command_of, environment_of, run_inner

GUARDS = ("sockets", "turns", "copies")

LOADED = """
import json, os, signal, sys, threading
from pathlib import Path

with Path("loaded").open("a") as file:
    file.write(f"{os.getpid()}\\n")

def test_it():
    Path("told").write_text(json.dumps({
        "pid": os.getpid(),
        "parent": os.getppid(),
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "arguments": sys.argv,
        "interrupted": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "worker": os.environ["PYTEST_XDIST_WORKER"],
        "files": [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{each}")],
    }))

def test_other(): ...
"""

DIES = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(number):
    if number == 1 and not Path("died").exists():
        Path("died").touch()
        os._exit(9)
"""

STAYS = """
import os, time
from pathlib import Path

def test_it():
    Path("pids").write_text(f"{os.getppid()} {os.getpid()}")
    time.sleep(120)
"""

WRONG = "import no_such_module\n"


def test_tests_are_loaded_once_for_all_workers(tmp_path):
    # When several workers run a test of a file
    ran = run_inner(tmp_path, "-n3", {"test_inner.py": LOADED}, guards=GUARDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # Then it was loaded by the process that they are copies of
    told = json.loads((tmp_path / "told").read_text())
    assert (tmp_path / "loaded").read_text().split() == [str(told["parent"])]
    # And each is what it would be otherwise
    assert told["pid"] != told["parent"]
    assert (told["main"], told["arguments"], told["interrupted"]) == (None, ["-c"], True)
    assert told["worker"].startswith("gw")
    # with no file of that process
    assert [each for each in told["files"] if "pidfd" in each or "eventpoll" in each] == []


def test_a_worker_that_dies_is_told_of_and_followed_by_another(tmp_path):
    ran = run_inner(tmp_path, "-n1", {"test_inner.py": DIES}, guards=GUARDS)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "worker 'gw0' crashed while running 'tests/test_inner.py::test_it[1]'" in ran.stdout
    assert "1 failed, 3 passed" in ran.stdout


def test_what_cannot_be_loaded_is_told_of(tmp_path):
    ran = run_inner(tmp_path, "-n2", {"test_inner.py": WRONG}, guards=GUARDS)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "No module named 'no_such_module'" in ran.stdout


def is_there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nobody_is_left_when_a_run_is_killed(tmp_path):
    # Given a run in the midst of a test
    command = command_of(tmp_path, "-n1", {"test_inner.py": STAYS}, guards=GUARDS)
    with subprocess.Popen(command, cwd=tmp_path, env=environment_of(), stdout=subprocess.DEVNULL) as run:
        told = tmp_path / "pids"
        until(lambda: told.exists() and len(told.read_text().split()) == 2, "it runs")
        pids = [int(each) for each in told.read_text().split()]
        assert [is_there(each) for each in pids] == [True, True]
        # When it is killed, then both processes end by themselves
        os.kill(run.pid, signal.SIGKILL)
        until(lambda: not any(is_there(each) for each in pids), "they are over")
