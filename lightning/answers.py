"""Answers from a thread that works for many callers at once, each of whom waits on an event loop."""

import asyncio
from contextlib import suppress
from typing import Any

Caller = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


def caller() -> Caller:
    """Make what the running task waits on; it may stop waiting, which stops nothing else."""
    loop = asyncio.get_running_loop()
    return loop, loop.create_future()


class Answers:
    """Collects the answers of one round, and wakes each event loop once for all of its callers."""

    def __init__(self) -> None:
        self._answers: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, bool]]] = {}

    def result(self, to: Caller, value: Any) -> None:
        """Note what a caller is to get."""
        self._answers.setdefault(to[0], []).append((to[1], value, False))

    def error(self, to: Caller, error: Exception) -> None:
        """Note what a caller is to be raised."""
        self._answers.setdefault(to[0], []).append((to[1], error, True))

    def send(self) -> None:
        """Wake the callers."""
        for loop, answers in self._answers.items():
            with suppress(RuntimeError):  # a loop that is closed has nobody who waits
                loop.call_soon_threadsafe(_settle, answers)
        self._answers = {}


def _settle(answers: list[tuple["asyncio.Future[Any]", Any, bool]]) -> None:
    for future, answer, failed in answers:
        if future.done():
            continue
        if failed:
            future.set_exception(answer)
        else:
            future.set_result(answer)
