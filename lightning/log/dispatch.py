"""Record, then send: the only way onto the queue.

Recording is what makes an event accepted. The message that follows may be
lost; the sweep finds the event and sends another.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from lightning.crash import CrashPoint, no_crash
from lightning.errors import Conflict, LightningError, Permanent
from lightning.events import TYPES, Draft, EventDocument
from lightning.log.log import EventLog
from lightning.queue import Queue, Wakeup
from lightning.telemetry import carrier

_log = structlog.get_logger(__name__)

#: Accepts of one user that share a batch: half of what a batch may hold.
MAX_COALESCED = 50

#: A queue that takes longer is left to itself: the event is recorded, and the sweep repairs what was lost.
ANNOUNCE_SECONDS = 2.0

_Waiting = tuple[Draft, "asyncio.Future[EventDocument]"]


def wakeup(event: EventDocument, *, delay_seconds: float = 0.0) -> Wakeup:
    """Make the message that asks for an event to be looked at.

    It belongs to the trace of whatever sends it; where nothing is traced, to the event's own.
    """
    return Wakeup(
        user_id=event["userID"],
        event_id=event["id"],
        wake=event["wake"],
        actor=TYPES[event["type"]].actor,
        delay_seconds=max(0.0, delay_seconds),
        sent_at=time.time(),
        trace=carrier.current() or event["trace"],
    )


class Dispatch:
    """Accepts events from outside and announces them to the workers.

    Accepts of one user that arrive together are recorded in one batch, since
    every batch moves the user's head and heads move one at a time.

    Parameters:
      log: Where events are recorded.
      queue: Where they are announced.
      crash: Told of the points between recording and sending.
    """

    def __init__(self, log: EventLog, queue: Queue, *, crash: CrashPoint = no_crash) -> None:
        self._log = log
        self._queue = queue
        self._crash = crash
        self._waiting: dict[str, list[_Waiting]] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def accept(self, user_id: str, draft: Draft) -> tuple[EventDocument, bool]:
        """Record an event, durably, and announce it.

        Parameters:
          user_id: Whose log.
          draft: The event.

        Returns:
          The event as recorded, and whether it is new; an event with the same
          id and fingerprint was accepted before and is returned as it stands.

        Raises:
          Conflict: Another event was accepted under this id.
          Transient: The store does not answer; nothing is promised.
        """
        future: asyncio.Future[EventDocument] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append((draft, future))
        if user_id not in self._busy:
            self._busy[user_id] = asyncio.create_task(self._record(user_id))
        try:
            event, new = await future, True
        except Conflict:
            event, new = await self._repeated(user_id, draft), False
        self._crash("accept:recorded")
        if event["state"] == "accepted":
            await self.announce([wakeup(event)])
        self._crash("accept:sent")
        return event, new

    async def announce(self, wakeups: Sequence[Wakeup]) -> None:
        """Send messages for recorded events; a failure is logged, since the sweep repairs it."""
        if not wakeups:
            return
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._queue.send(wakeups)
        except TimeoutError:
            _log.warning("queue_slow", seconds=ANNOUNCE_SECONDS, messages=len(wakeups))
        except LightningError as error:
            _log.warning("queue_unavailable", error=error.message, messages=len(wakeups))

    async def _repeated(self, user_id: str, draft: Draft) -> EventDocument:
        event = await self._log.get(user_id, draft.id)
        if event is None or event.get("fingerprint") != draft.fingerprint or draft.fingerprint is None:
            raise Conflict("another event was accepted under this id", code="id_taken")
        return event

    async def _record(self, user_id: str) -> None:
        try:
            while waiting := self._waiting.pop(user_id, None):
                for start in range(0, len(waiting), MAX_COALESCED):
                    await self._record_together(user_id, waiting[start : start + MAX_COALESCED])
        finally:
            del self._busy[user_id]

    async def _record_together(self, user_id: str, waiting: list[_Waiting]) -> None:
        alone = len(waiting) == 1
        try:
            if len({draft.id for draft, _ in waiting}) < len(waiting):
                raise Conflict("two of them have one id")
            events = await self._log.append(user_id, [draft for draft, _ in waiting])
        except Exception as error:  # noqa: BLE001 -- whoever waits must hear of it
            if isinstance(error, Conflict | Permanent) and not alone:
                # one of them, or their sum, is in the way of the others
                for one in waiting:
                    await self._record_together(user_id, [one])
                return
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), event in zip(waiting, events, strict=True):
            if not future.done():
                future.set_result(event)
