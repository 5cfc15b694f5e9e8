"""The watchdog of a worker's event loop."""

import asyncio
import math

import dramatiq
import pytest
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread

from ops.chaos.installation import until
from worker.watchdog import Watchdog


class Timer:
    """Stands where the process would be ended."""

    def __init__(self, *, fails: int = 0):
        self.asked: list[float] = []
        self._fails = fails

    def stuck_within(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) <= self._fails:
            raise RuntimeError("unable to start watchdog thread")


@pytest.fixture
def loop_thread():
    thread = EventLoopThread(dramatiq.get_logger(__name__))
    thread.start(timeout=10)
    set_event_loop_thread(thread)
    yield thread
    set_event_loop_thread(None)
    thread.stop()
    thread.join()


def test_it_watches_before_there_is_a_message(loop_thread):
    timer = Timer()
    watchdog = Watchdog(timer, 60)
    # When a worker is about to start, then whatever its loop is given next runs behind the first beat
    watchdog.before_worker_boot(None, None)
    loop_thread.run_coroutine(asyncio.sleep(0))
    assert timer.asked == [60]
    # And it rests when the worker has ended
    watchdog.after_worker_shutdown(None, None)
    assert timer.asked == [60, math.inf]


def test_a_timer_that_cannot_be_set_is_set_with_the_next_beat(loop_thread, caplog):
    timer = Timer(fails=1)
    watchdog = Watchdog(timer, 0.04)
    watchdog.before_worker_boot(None, None)
    until(lambda: len(timer.asked) >= 3, "it beats on")
    watchdog.after_worker_shutdown(None, None)
    assert timer.asked[:3] == [0.04] * 3
    assert "unable to start watchdog thread" in caplog.text
