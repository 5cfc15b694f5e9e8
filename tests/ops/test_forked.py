"""Processes that begin as copies are processes like all others."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.chaos.forked import LOADED, fork
from ops.chaos.installation import until
from worker.supervisor import Process

TELLS = """
import json, os, sys
from pathlib import Path
Path(sys.argv[1]).write_text(json.dumps({
    "arguments": sys.argv[1:], "environment": dict(os.environ), "name": __name__,
    "session": os.getsid(0), "pid": os.getpid(),
}))
print("for nobody")
sys.exit(int(sys.argv[2]))
"""

WAITS = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).touch()
time.sleep(120)
"""

#: Starts a copy, tells its process id, and is killed before it could end it.
STARTS = """
import subprocess, sys, time
from ops.chaos.forked import fork
from worker.supervisor import Process
if __name__ == "__main__":
    print(fork(Process("it", sys.argv[1:], {}, output=subprocess.DEVNULL)).pid, flush=True)
    time.sleep(120)
"""


def program(tmp_path: Path, text: str, *arguments: str) -> list[str]:
    file = tmp_path / "program.py"
    file.write_text(text)
    return [sys.executable, str(file), *arguments]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_has_its_own_environment_arguments_and_session(tmp_path, capfd):
    said = tmp_path / "said"
    command = program(tmp_path, TELLS, str(said), "3")
    process = fork(Process("it", command, {"ONLY": "this"}, output=subprocess.DEVNULL))
    assert process.wait(30) == 3
    assert process.poll() == 3
    process.send_signal(signal.SIGKILL)  # it is over, and nobody is hit
    assert json.loads(said.read_text()) == {
        "arguments": [str(said), "3"],
        "environment": {"ONLY": "this"},
        "name": "__main__",
        "session": process.pid,
        "pid": process.pid,
    }
    assert capfd.readouterr().out == ""


def test_it_is_killed_like_any_other(tmp_path):
    began = tmp_path / "began"
    process = fork(Process("it", program(tmp_path, WAITS, str(began)), {}))
    until(began.exists, "it begins")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


def test_it_ends_with_whoever_started_it(tmp_path):
    began = tmp_path / "began"
    starter = tmp_path / "starter.py"
    starter.write_text(STARTS)
    parent = subprocess.Popen(
        [sys.executable, str(starter), *program(tmp_path, WAITS, str(began))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with parent:
        pid = int(parent.stdout.readline())
        until(began.exists, "it begins")
        # When a run of tests is broken off hard, then what it had started ends
        parent.kill()
    until(lambda: not is_alive(pid), "it ends")


def test_what_is_loaded_is_there_and_starts_no_thread():
    # a copy of a process with threads has none of them, and may wait for ever for what they held
    names = ", ".join(LOADED)
    counted = subprocess.run(
        [sys.executable, "-c", f"import threading, {names}; print(threading.active_count())"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (counted.returncode, counted.stdout) == (0, "1\n"), counted.stderr
