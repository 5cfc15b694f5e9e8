"""A process that nothing else ends is ended, and shows what it was doing."""

import subprocess
import sys

import pytest

BEGIN = """
import math, threading, time
from worker.last_resort import LastResort

last_resort = LastResort()

def sleep_for_ever():
    threading.Event().wait()

threading.Thread(target=sleep_for_ever, daemon=DAEMON).start()
"""


def run(program: str, *, daemon: bool) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", BEGIN.replace("DAEMON", str(daemon)) + program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "program",
    [
        "last_resort.end_within(0.2)",
        "last_resort.stuck_within(0.2)",
        "last_resort.end_within(60); last_resort.stuck_within(0.2)",
        # a loop that goes on does not put off the end of the process
        "last_resort.end_within(0.2)\nwhile True: last_resort.stuck_within(60); time.sleep(0.01)",
        "last_resort.end_within(0.2); last_resort.stuck_within(60); last_resort.stuck_within(math.inf)",
    ],
)
def test_a_thread_that_hangs_does_not_keep_the_process(program):
    # When a process ends that has a thread which never does
    ended = run(program, daemon=False)
    # Then it ends all the same, and shows what hung
    assert ended.returncode == 1
    assert "sleep_for_ever" in ended.stderr


def test_who_is_not_stuck_any_more_goes_on():
    ended = run(
        "last_resort.stuck_within(60); last_resort.stuck_within(math.inf); print('goes on')", daemon=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "goes on\n", "")
