"""Processes that a nursery forks: what becomes of them, of it, and of who made it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.chaos.installation import until
from worker.nursery import Nursery
from worker.supervisor import Process

#: Has a copy of itself as its nursery, and starts what it is told, one line each.
SUPERVISES = """
import sys
from worker.nursery import Nursery
from worker.supervisor import Process
print("once")  # it is in a buffer still, of which there are copies then
nursery = Nursery.copied(["random", "lightning.ids"])
for line in sys.stdin:
    process = nursery.start(Process("it", [sys.executable, *line.split()], {"PYTHONPATH": sys.path[-1]}))
    sys.stderr.write(f"{process.pid} {process.wait()}\\n")
"""

TELLS = """
import json, os, random, sys
from pathlib import Path
from lightning.ids import new_id
Path(sys.argv[1]).write_text(json.dumps({
    "stdin": sys.stdin.read(), "parent": os.getppid(), "ids": [new_id()[14:], random.random()],
    "shown": Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").decode().split("\\0"),
}))
"""

WAITS = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).touch()
time.sleep(120)
"""

#: How a process may end, what an interpreter makes of it, and what is said then.
ENDS = {
    "pass": (0, ""),
    "import sys; sys.exit()": (0, ""),
    "import sys; sys.exit(7)": (7, ""),
    "import sys; sys.exit('what to do')": (1, "what to do\n"),
    "raise ValueError('broken')": (1, "ValueError: broken\n"),
    "import atexit; atexit.register(print, 'at the end')": (0, "at the end\n"),
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()": (
        0,
        "a thread\n",
    ),
    "from concurrent.futures import ThreadPoolExecutor as Pool; Pool().submit(print, 'a pool')": (
        0,
        "a pool\n",
    ),
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": (-signal.SIGTERM, ""),
}


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def nursery():
    made = Nursery.launched(["json"])
    yield made
    made.close()


@pytest.mark.parametrize("text", ENDS)
def test_it_ends_as_an_interpreter_does(nursery, tmp_path, capfd, text):
    program = file(tmp_path, "program.py", text)
    for start in (nursery.start, subprocess_of):
        status = start(Process("it", [sys.executable, str(program)], dict(os.environ))).wait(60)
        said = "".join(capfd.readouterr())
        assert (status, said[said.rfind("\n", 0, -1) + 1 :]) == ENDS[text]


def subprocess_of(process: Process) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*process.command], env=process.environment)


def test_a_copy_of_who_supervises_is_its_child_and_shares_no_chance(tmp_path):
    # Given somebody who supervises, and made a nursery of a copy of itself
    supervisor = file(tmp_path, "supervisor.py", SUPERVISES)
    tells = file(tmp_path, "tells.py", TELLS)
    buffered = {"PYTHONUNBUFFERED": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.Popen(
        [sys.executable, str(supervisor)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **buffered},
    )  # fmt: skip
    # When it starts two processes
    output, errors = ran.communicate(f"{tells} {tmp_path / '1'}\n{tells} {tmp_path / '2'}\n", timeout=60)
    one, other = (json.loads((tmp_path / name).read_text()) for name in "12")
    # Then each is its child, reads nothing, shows its own command, and draws its own ids
    assert [line.split()[1] for line in errors.splitlines()] == ["0", "0"]
    assert output == "once\n"
    assert one["parent"] == other["parent"] == ran.pid
    assert one["stdin"] == other["stdin"] == ""
    assert one["shown"][:2] == [sys.executable, str(tells)]  # for the rest, there is no room
    assert all(a != b for a, b in zip(one["ids"], other["ids"], strict=True))


def test_what_it_forked_outlives_it_and_more_is_started(tmp_path):
    # Given a process of a nursery
    nursery = Nursery.launched(["json"])
    program = file(tmp_path, "program.py", WAITS)

    def start(name: str):
        began = tmp_path / name
        process = nursery.start(Process(name, [sys.executable, str(program), str(began)], dict(os.environ)))
        until(began.exists, "it begins")
        return process

    before = start("before")
    # When the nursery is killed
    os.kill(nursery.pid, signal.SIGKILL)
    # Then others are started all the same, it lives, and its end is told as before
    after = start("after")
    for process in (before, after):
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    nursery.close()


def test_one_that_hangs_is_done_without(tmp_path, monkeypatch):
    # Given a nursery that does not go on
    monkeypatch.setattr("worker.nursery.ANSWER_SECONDS", 0.5)
    nursery = Nursery.launched(["json"])
    os.kill(nursery.pid, signal.SIGSTOP)
    # When something is to be started, then it is, and so is what comes after
    for _ in range(2):
        command = [sys.executable, "-c", "import sys; sys.exit(5)"]
        assert nursery.start(Process("it", command, dict(os.environ))).wait(60) == 5
