"""The supervisor, told to stop from a signal handler, and where a process cannot be started for a while."""

import os
import sys
import threading
import time

import pytest

from worker import supervisor
from worker.supervisor import Process, Supervisor, launch

#: More than it runs while it looks twice after its processes.
LINES = 40


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", range(1, LINES, 2))
def test_a_signal_stops_it_whatever_it_is_about(monkeypatch, line):
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.001)
    # Given a supervisor, and a signal whose handler runs before a line of it, or of what it calls
    running = Supervisor([])
    passed = 0

    def trace(_frame, what, _argument):
        nonlocal passed
        passed += what == "line"
        if passed == line:
            sys.settrace(None)
            running.stop()
        return trace

    def run():
        sys.settrace(trace)
        running.run()

    # When it runs, then it stops
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.timeout(30)
def test_a_process_that_cannot_be_started_again_ends_no_other():
    # Given a machine that refuses a new process for a while, after one has died beside another
    dies = Process("dies", [sys.executable, "-c", "raise SystemExit(1)"], os.environ)
    lives = Process("lives", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    refusals = [BlockingIOError(11, "Resource temporarily unavailable")] * 2
    started = []

    def start(process):
        if process in started and process is dies and refusals:
            raise refusals.pop()
        started.append(process)
        return launch(process)

    running = Supervisor([dies, lives], drain_seconds=5, start=start)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    # When it has been refused, then it is started in the end
    while started.count(dies) < 2 and thread.is_alive():
        time.sleep(0.02)
    assert refusals == []
    # And the other one has lived on
    assert started.count(lives) == 1
    assert lives.running.poll() is None
    running.stop()
    thread.join(10)
    assert not thread.is_alive()
