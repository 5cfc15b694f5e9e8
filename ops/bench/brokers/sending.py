"""Sends messages: as fast as a broker takes them, or one at a time with pauses."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable

from ops.bench.brokers.plan import Quota
from ops.bench.brokers.sightings import Reader

#: Before each message of an idle system: the same for all systems.
_PAUSES_SECONDS = (0.02, 0.08)

#: Messages before those that are measured.
_WARM_UP = 2

#: A message that takes longer is given up, and the measurement with it.
_PATIENCE_SECONDS = 10.0

#: What could not be sent: number and why.
Failed = list[tuple[int, str]]


def flood_by_threads(send: Callable[[int], object], quota: Quota, at_a_time: int) -> Failed:
    """Send from so many threads until the quota is used up."""
    failed: Failed = []

    def one() -> None:
        while (number := quota.take()) is not None:
            try:
                send(number)
            except Exception as error:  # noqa: BLE001 -- brokers raise what their libraries raise
                failed.append((number, f"{type(error).__name__}: {error}"))
                return

    threads = [threading.Thread(target=one) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


async def flood_by_tasks(send: Callable[[int], Awaitable[object]], quota: Quota, at_a_time: int) -> Failed:
    """Send from so many tasks of one event loop until the quota is used up."""
    failed: Failed = []

    async def one() -> None:
        while (number := quota.take()) is not None:
            try:
                await send(number)
            except Exception as error:  # noqa: BLE001 -- brokers raise what their libraries raise
                failed.append((number, f"{type(error).__name__}: {error}"))
                return

    await asyncio.gather(*(one() for _ in range(at_a_time)))
    return failed


def one_at_a_time(
    send: Callable[[int], object], reader: Reader, first: int, count: int, seconds: float
) -> tuple[list[int], list[float]]:
    """Send each message when the one before was delivered, after a pause.

    Returns:
      The numbers that were sent; and of each after the first few, the seconds from before the call that
      sends until the actor ran.
    """
    pauses = random.Random(1)  # noqa: S311 -- the same for every system
    deadline = time.monotonic() + seconds
    times: list[float] = []
    sent: list[int] = []
    for number in range(first - _WARM_UP, first + count):
        if times and time.monotonic() > deadline:
            break
        time.sleep(pauses.uniform(*_PAUSES_SECONDS))
        began = time.monotonic_ns()
        send(number)
        sent.append(number)
        seen = reader.wait_for(number, _PATIENCE_SECONDS)
        if seen is None:
            break
        if number >= first:
            times.append((seen - began) / 1e9)
    return sent, times
