"""The locks on the messages of one queue: renewed in time, and settled where their link is gone."""

import asyncio
import heapq
import itertools
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from brokers.servicebus_delivery import Held, State
from brokers.servicebus_faults import Backoff, LockLost, is_answer, is_refusal, kind_of, report, silence
from brokers.servicebus_loop import LoopThread
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_wire_management import MAX_MANAGEMENT_ANSWERS, ManagementLink
from brokers.servicebus_wire_receiver import Outcome

#: A lock is renewed when so much of it is left: there is time for a second and a third attempt.
RENEW_AT: Final = 0.5

#: Service Bus's own limit; the least that it allows is 5 s.
LONGEST_LOCK_SECONDS: Final = 300.0

#: Clocks may differ by so much without a warning.
CLOCK_TOLERANCE_SECONDS: Final = 5.0

#: Locks that are renewed in one request.
MAX_TOGETHER: Final = 100

#: An attempt may take this part of what is left of the shortest lock, so that others can follow it,
ATTEMPT_PART: Final = 1 / 3

#: but at least so long.
LEAST_ATTEMPT_SECONDS: Final = 0.1

#: After a failed attempt, when to try again.
RETRY_SECONDS: Final = 0.2

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class Management:
    """Asks a queue's management node, one request at a time, over a link that is opened when it is needed.

    Parameters:
      namespace: Opens the link.
      queue_name: The queue.
      max_backoff_seconds: The longest wait between attempts.
      dead_letters: Ask the queue of its dead letters instead.
    """

    def __init__(
        self,
        namespace: Namespace,
        queue_name: str,
        max_backoff_seconds: float,
        *,
        dead_letters: bool = False,
    ) -> None:
        self._namespace = namespace
        self._queue_name = queue_name
        self._dead_letters = dead_letters
        self._turn = asyncio.Lock()
        self._link: ManagementLink | None = None
        self._backoff = Backoff(max_backoff_seconds)
        self._away: Exception | None = None
        self._again_at = 0.0

    async def ask(self, request: Callable[[ManagementLink], Awaitable[T]]) -> T:
        """Ask; a link that has died meanwhile is replaced once.

        While the queue cannot be asked, all who want to are told so at once, until it is time to try again.

        Raises:
          Exception: What the SDK raises.
        """
        async with self._turn:
            if self._away is not None and time.monotonic() < self._again_at:
                raise self._away.with_traceback(None)
            try:
                answer = await self._ask_again(request)
            except Exception as error:
                self._note(error)
                raise
            self._note(None)
            return answer

    async def close(self) -> None:
        """Close the link."""
        async with self._turn:
            await self._drop()

    async def _ask_again(self, request: Callable[[ManagementLink], Awaitable[T]]) -> T:
        is_fresh = self._link is None
        try:
            return await self._ask(request)
        except Exception as error:
            if is_answer(error):
                raise
            await self._drop()
            if is_fresh:
                raise
        return await self._ask(request)

    def _note(self, error: Exception | None) -> None:
        """Remember whether the queue can be asked; only the first fault of an outage is told."""
        if error is None or is_refusal(error):
            self._away = None
            self._backoff.reset()
            return
        if self._away is not None:
            silence(error)
        self._away = error
        self._again_at = time.monotonic() + self._backoff.after(error)

    async def _ask(self, request: Callable[[ManagementLink], Awaitable[T]]) -> T:
        if self._link is not None and self._link.answers >= MAX_MANAGEMENT_ANSWERS:
            await self._drop()
        if self._link is None:
            link = self._namespace.management(self._queue_name, dead_letters=self._dead_letters)
            await link.open()
            self._link = link
        return await request(self._link)

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


class Locks:
    """Renews what is held of one queue, until this is closed: actors work on while no consumer is open.

    Messages are referred to weakly: one that nobody can settle any more is not kept from other workers.

    Parameters:
      loop: Where this lives.
      management: Settles; what else is asked over it may take its time.
      open_management: Makes what locks are renewed over, and nothing else.
      queue_name: The queue.
      shortest_seconds: No lock lasts shorter, whatever the clock of this machine says.
    """

    def __init__(
        self,
        loop: LoopThread,
        management: Management,
        open_management: Callable[[], Management],
        queue_name: str,
        shortest_seconds: float,
    ) -> None:
        self._loop = loop
        self._management = management
        self._open_management = open_management
        self._renewals = open_management()
        self._queue_name = queue_name
        self._shortest_seconds = shortest_seconds
        self._is_clock_wrong = False
        self._due: list[tuple[float, int, weakref.ref[Held]]] = []
        self._numbers = itertools.count()
        self._earlier = asyncio.Event()
        self._settling: set[asyncio.Task[Any]] = set()
        self._task: asyncio.Task[Any] | None = None

    async def close(self) -> None:
        """End the renewals, and what is being settled."""
        tasks = [task for task in (self._task, *self._settling) if task is not None]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._renewals.close(), return_exceptions=True)

    def watch(self, held: Held) -> None:
        """Renew the lock of a message from now on, until it is settled or lost."""
        if self._task is None:
            self._task = self._loop.spawn(self._run())
        now = time.monotonic()
        lasts = self._believable(held.locked_until - now)
        held.locked_until = now + lasts
        self._push(now + lasts * RENEW_AT, held)

    async def settle(self, held: Held, outcome: Outcome) -> None:
        """Settle a message whose link is gone, as long as its lock lasts.

        Raises:
          LockLost: The message will be delivered again.
        """
        task = self._loop.spawn(self._settle(held, outcome))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await task

    async def _settle(self, held: Held, outcome: Outcome) -> None:
        while True:
            try:
                await self._management.ask(lambda link: link.settle(held.received.token, outcome))
            except Exception as error:
                if kind_of(error) == "lock_lost":
                    raise LockLost("the lock on the message was lost") from error
                if time.monotonic() > held.locked_until:
                    raise LockLost("the lock on the message ran out before it could be settled") from error
                report(error, self._queue_name, "settle")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _believable(self, lasts: float) -> float:
        """Bound how long a lock seems to last: Service Bus tells its end by its own clock."""
        bounded = min(max(lasts, self._shortest_seconds), LONGEST_LOCK_SECONDS)
        is_wrong = not self._shortest_seconds / 2 <= lasts <= LONGEST_LOCK_SECONDS + CLOCK_TOLERANCE_SECONDS
        if is_wrong and not self._is_clock_wrong:
            _logger.warning(
                "The clock of this machine is wrong: a lock that queue %s just gave would last %.1f s by it. "
                "Synchronise it (NTP); until then locks may be lost, and messages run twice.",
                self._queue_name,
                lasts,
            )
        self._is_clock_wrong = is_wrong
        return bounded

    def _push(self, due: float, held: Held) -> None:
        if not self._due or due < self._due[0][0]:
            self._earlier.set()
        heapq.heappush(self._due, (due, next(self._numbers), weakref.ref(held)))

    async def _run(self) -> None:
        while True:
            self._earlier.clear()
            wait = self._due[0][0] - time.monotonic() if self._due else None
            if wait is None or wait > 0:
                try:
                    async with asyncio.timeout(wait):
                        await self._earlier.wait()
                except TimeoutError:
                    pass
                continue
            held = self._take()
            if held:
                await self._renew(held)

    def _take(self) -> list[Held]:
        now = time.monotonic()
        taken: list[Held] = []
        while self._due and self._due[0][0] <= now and len(taken) < MAX_TOGETHER:
            held = heapq.heappop(self._due)[2]()
            if held is not None and held.state not in {State.SETTLED, State.LOST}:
                taken.append(held)
                self._expect_end(held)
        return taken

    def _expect_end(self, held: Held) -> None:
        """Have a lock that is not renewed known to be lost when it ends, whatever the renewal waits for."""
        lasts = held.locked_until - time.monotonic()
        asyncio.get_running_loop().call_later(max(0.0, lasts), self._end, weakref.ref(held))

    def _end(self, reference: "weakref.ref[Held]") -> None:
        held = reference()
        if held is not None and time.monotonic() >= held.locked_until:
            self._lose(held)

    async def _renew(self, together: Sequence[Held]) -> None:
        tokens = [held.received.token for held in together]
        left = min(held.locked_until for held in together) - time.monotonic()
        try:
            async with asyncio.timeout(max(LEAST_ATTEMPT_SECONDS, left * ATTEMPT_PART)):
                seconds = await self._renewals.ask(lambda link: link.renew(tokens))
            renewed = list(zip(together, seconds, strict=True))
        except TimeoutError as error:
            hanging, self._renewals = self._renewals, self._open_management()
            self._loop.spawn(hanging.close())
            self._try_again(together, error)
            return
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next attempt follows
            if is_refusal(error) and len(together) > 1:
                half = len(together) // 2  # which of them it is, only asking for fewer tells
                await self._renew(together[:half])
                await self._renew(together[half:])
            elif is_refusal(error) and kind_of(error) == "lock_lost":
                self._lose(together[0])
            else:
                self._try_again(together, error)
            return
        for held, lasts in renewed:
            held.locked_until = time.monotonic() + lasts
            self.watch(held)

    def _try_again(self, together: Sequence[Held], error: Exception) -> None:
        report(error, self._queue_name, "renew")
        now = time.monotonic()
        for held in together:
            if now >= held.locked_until:
                self._lose(held)
            else:
                self._push(min(now + RETRY_SECONDS, held.locked_until), held)

    def _lose(self, held: Held) -> None:
        if held.state in {State.HELD, State.MOVING, State.RETRY_FAILED}:
            report(LockLost("the lock was lost: the message will run again"), self._queue_name, "renew")
            held.lose()
