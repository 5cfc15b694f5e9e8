"""A call that blocks, for asyncio, which nobody waits for when the process ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def in_daemon_thread(call: Callable[[], Result]) -> Result:
    """Call something on a thread of its own, as `asyncio.to_thread` does.

    The process can end while it still blocks, as on a service that does not answer; threads of a pool are
    waited for.

    Parameters:
      call: What to call.

    Raises:
      Exception: What it raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def finish(result: Result | None, error: BaseException | None) -> None:
        if done.done():  # nobody waits any more
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType] -- None is a result where it is one

    def run() -> None:
        result: Result | None = None
        failed: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 -- raised where it is waited for
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(finish, result, failed)

    threading.Thread(target=run, name="blocking-call", daemon=True).start()
    return await done
