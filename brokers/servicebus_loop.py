"""The event loop that owns all that speaks to Service Bus, on a thread of its own."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop
from dramatiq.errors import BrokerError

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class LoopThread:
    """Runs coroutines and calls for threads that wait for them, or do not.

    The SDK's clients are neither thread-safe nor coroutine-safe: whoever makes one here uses it here alone.
    """

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._calls: deque[Callable[[], object]] = deque()
        self._called = False
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="servicebus", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine and wait for its end.

        Raises:
          TimeoutError: It did not end in time, and was cancelled.
        """
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except BaseException:  # an interrupt of the waiting thread too
            future.cancel()
            raise

    def post(self, call: Callable[[], object]) -> None:
        """Have something called soon, in the order of posting; the loop is woken once for many calls."""
        self._calls.append(call)
        with self._lock:
            if self._called:
                return
            self._called = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody works here any more
            self._loop.call_soon_threadsafe(self._call)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a task; call this on the loop. If it fails, but for faults of brokers, the log says so."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def stop(self) -> None:
        """Cancel what still runs, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BrokerError):
            _logger.error("A task of the Service Bus broker failed: please report it.", exc_info=error)

    def _call(self) -> None:
        with self._lock:
            self._called = False
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception:  # those behind it are not to wait for the next post
                _logger.exception("A call on the loop of the Service Bus broker failed: please report it.")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
