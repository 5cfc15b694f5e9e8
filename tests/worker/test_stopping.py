"""A process that is told to stop hears of it."""

import os
import signal
import sys
import threading

import pytest

from ops.chaos.installation import until
from worker.stopping import STOP_SIGNALS, stop_signals


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_hits_another_thread_ends_the_wait(number):
    main, places = threading.get_ident(), []

    def rests() -> bool:
        frame = sys._current_frames()[main]
        places.append((frame.f_code.co_name, frame.f_lasti))
        return places[-1][0] == "wait" and places[-2:] == [places[-1]] * 2

    def hit():
        # the system may choose any thread, and does so where the main one has just been stopped and continued
        until(rests, "the main thread waits")
        signal.pthread_kill(threading.get_ident(), number)

    # Given a main thread that waits to be told to stop
    thread = threading.Thread(target=hit)
    with stop_signals() as wait:
        thread.start()
        # When the signal is delivered on another thread, then the wait is over
        wait()
    thread.join()


def test_a_signal_before_the_wait_is_not_missed_and_no_other_one_ends_it():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    heard = []
    other = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        with stop_signals() as wait:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
    finally:
        signal.signal(signal.SIGUSR1, other)
    assert heard == [signal.SIGUSR1]
    # and what handled them before does so again
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
