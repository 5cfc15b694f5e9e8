"""The supervisor, told to stop from a signal handler."""

import sys
import threading

import pytest

from worker import supervisor
from worker.supervisor import Supervisor

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
