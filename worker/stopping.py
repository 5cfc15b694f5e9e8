"""Being told to stop."""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Generator[Callable[[], None]]:
    """Take SIGTERM and SIGINT for a call to stop while the context lasts; entered on the main thread.

    The system delivers a signal on any thread, and Python handles it on the main one, which it does not wake:
    where that waits for a lock it would wait for ever. A byte in a pipe wakes it, whichever thread was hit,
    and is there too for who asks later.

    Yields:
      Returns once the process was told to stop.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(tell, False)
    handlers = {number: signal.signal(number, _noted) for number in STOP_SIGNALS}
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(told, 1)[0] not in STOP_SIGNALS:
            pass  # another signal that somebody handles

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Without a handler the signal would end the process; what it says is in the pipe."""
