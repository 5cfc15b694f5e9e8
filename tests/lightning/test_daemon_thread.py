"""A call that blocks: its result, its error, and an end of the process that does not wait for it."""

import asyncio
import subprocess
import sys

import pytest

from lightning.daemon_thread import in_daemon_thread

BLOCKED = """
import asyncio, threading
from lightning.daemon_thread import in_daemon_thread

async def main():
    try:
        async with asyncio.timeout(0.05):
            await in_daemon_thread(threading.Event().wait)
    except TimeoutError:
        print("over")

asyncio.run(main())
"""


async def test_what_it_returns_and_what_it_raises():
    assert await in_daemon_thread(lambda: 3) == 3
    assert await in_daemon_thread(lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)


async def test_the_loop_goes_on_meanwhile():
    here = asyncio.get_running_loop()
    went_on: asyncio.Future[bool] = here.create_future()
    called = in_daemon_thread(lambda: here.call_soon_threadsafe(went_on.set_result, True))
    await asyncio.gather(called, went_on)


def test_a_process_ends_while_it_blocks():
    # a thread of a pool would be waited for, without an end
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "over\n"
