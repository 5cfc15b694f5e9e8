"""Record, then send: the only way onto the queue.

Recording is what makes an event accepted. The message that follows may be
lost; the sweep finds the event and sends another.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import structlog
from opentelemetry import context

from lightning.crash import CrashPoint, no_crash
from lightning.errors import Conflict, Forbidden, LightningError, NotFound, Permanent
from lightning.events import TYPES, Draft, EventDocument, now_text
from lightning.ids import keyed_id, new_id
from lightning.log.documents import seconds_until_due
from lightning.log.log import EventLog
from lightning.queue import Queue, Wakeup
from lightning.telemetry import carrier

_log = structlog.get_logger(__name__)

#: Accepts of one user that share a batch: each may be an event, its conversation, and what it interrupts.
MAX_COALESCED = 32

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
        bulk=event.get("bulk", False),
    )


def wakeups(events: Iterable[EventDocument]) -> list[Wakeup]:
    """Make the messages for those events that are to be looked at: not over, not waiting for their turn."""
    return [
        wakeup(event, delay_seconds=seconds_until_due(event, time.time()))
        for event in events
        if event["state"] == "accepted" and event["dueAt"] is not None
    ]


def _replay(event: EventDocument, id: str, by: str | None) -> Draft:
    return Draft(
        id=id,
        type=event["type"],
        source=event["source"],
        metadata=event["metadata"],
        timestamp=now_text(),
        trace=carrier.current(),
        fingerprint=f"replay of {event['id']}",
        replay_of=event["id"],
        replayed_by=by,
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
        except Conflict as conflict:
            event, new = await self._repeated(user_id, draft, conflict), False
        self._crash("accept:recorded")
        if new:
            await self.announce(wakeups([event]))
        else:
            await self._announce_again(event)
        self._crash("accept:sent")
        return event, new

    async def _announce_again(self, event: EventDocument) -> None:
        # whichever message comes first is worked on, so each belongs to the trace that the event began in
        token = context.attach(carrier.parent(event["trace"]))
        try:
            await self.announce(wakeups([event]))
        finally:
            context.detach(token)

    async def follow(self, cause: EventDocument, *drafts: Draft) -> None:
        """Record what follows from an event while that goes on, once, all of it or nothing, and announce it.

        Raises:
          Transient: The store does not answer.
          Permanent: It is over the limits (``output_too_large``).
        """
        await self.announce(wakeups(await self._log.follow(cause, drafts)))

    async def hasten(self, user_id: str, event_id: str) -> None:
        """Have an event that was put off looked at now.

        Raises:
          Transient: The store does not answer.
        """
        event = await self._log.hasten(user_id, event_id)
        if event is not None:
            await self.announce([wakeup(event)])

    async def cancel(self, user_id: str, event_id: str, *, by: str | None = None) -> EventDocument:
        """Stop an event and all that follows from its root; see `Interventions.cancel`."""
        event, released = await self._log.interventions.cancel(user_id, event_id, by=by)
        await self.announce(wakeups(released))
        return event

    async def cancel_branches(
        self, event: EventDocument, heads: Collection[str], why: dict[str, str]
    ) -> None:
        """Stop some events of the tree of an event, and what follows from them.

        Their workers hear of it at once, so that containers are stopped.

        Raises:
          Transient: The store does not answer.
        """
        user_id = event["userID"]
        ended, follow = await self._log.interventions.cancel_branches(user_id, event["root"], heads, why)
        over = [found for each in ended if (found := await self._log.get(user_id, each)) is not None]
        await self.announce([*wakeups(follow), *(wakeup(each) for each in over if each["type"] in TYPES)])

    async def replay(
        self, user_id: str, event_id: str, *, key: str | None = None, by: str | None = None
    ) -> EventDocument:
        """Have an event worked on once more: a dead one again, one that ended otherwise as a new event.

        Parameters:
          user_id: Whose log.
          event_id: The event.
          key: A replay under the same key answers with the same new event.
          by: The ``userID`` of whoever wants it; None is the platform.

        Returns:
          The event that will be worked on; a new one names the other in ``replayOf``.

        Raises:
          NotFound: There is no such event.
          Conflict: It is not over (``not_over``), or what it said is forgotten (``erased``).
          Forbidden: It ended well, and only the platform makes events of its type (``platform_event``).
        """
        event = await self._log.get(user_id, event_id)
        if event is None:
            raise NotFound("there is no such event, or it is not yours")
        if event["state"] == "accepted":
            raise Conflict("it is not over yet; cancel it, or wait", code="not_over")
        if event.get("erased"):
            raise Conflict("what it said was deleted with its conversation", code="erased")
        if event["state"] == "dead":
            await self.announce(wakeups(await self._log.interventions.revive(user_id, event_id, by=by)))
            return await self._log.get(user_id, event_id) or event
        kind = TYPES.get(event["type"])
        if kind is None or not kind.posted_by_users:
            message = (
                f"events of type {event['type']} come from the platform only; a dead one can be replayed"
            )
            raise Forbidden(message, code="platform_event")
        again = _replay(event, new_id() if key is None else keyed_id(user_id, key), by)
        return (await self.accept(user_id, again))[0]

    async def follow_ended(self, event: EventDocument, drafts: Sequence[Draft]) -> None:
        """Record what follows from an event that is over, once, and announce it."""
        await self.announce(wakeups(await self._log.follow_ended(event, drafts)))

    async def announce(self, messages: Sequence[Wakeup]) -> None:
        """Send messages for recorded events; a failure is logged, since the sweep repairs it."""
        if not messages:
            return
        session = self._log.session()
        if session is not None:
            messages = [replace(each, session=session) for each in messages]
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._queue.send(messages)
        except TimeoutError:
            _log.warning("queue_slow", seconds=ANNOUNCE_SECONDS, messages=len(messages))
        except LightningError as error:
            _log.warning("queue_unavailable", error=error.message, messages=len(messages))

    async def _repeated(self, user_id: str, draft: Draft, conflict: Conflict) -> EventDocument:
        event = await self._log.get(user_id, draft.id)
        if event is None:
            raise conflict  # its conversation does not take it
        if event.get("fingerprint") != draft.fingerprint or draft.fingerprint is None:
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
