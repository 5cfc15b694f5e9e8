"""The step: one delivery of one message, from the claim to the outcome.

The log alone owns attempts, due times and outcomes; the message only says which
event to look at. Every decision is one conditional batch. Then the messages of
what follows are sent, and only then is the message acknowledged (by returning).
A crash anywhere between is repaired by redelivery or by the sweep.
"""

import asyncio
import gc
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog
from opentelemetry import trace
from pydantic import ValidationError

from actors.actor import Actor, Retries
from actors.holding import ClaimLost, Holding
from actors.outcome import Again, Done, Outcome, Output, check, has_sequel
from actors.step_metrics import StepMetrics
from lightning.crash import CrashPoint, no_crash
from lightning.errors import Conflict, LightningError, Permanent, PreconditionFailed, Transient
from lightning.events import TYPES, Draft, EventDocument
from lightning.log import Claimed, Dispatch, Ended, EventLog, Later, Verdict, Void, wakeup, wakeups
from lightning.log.turns import TURN_TYPES
from lightning.queue import Wakeup
from lightning.storage.rules import document_id
from lightning.telemetry import carrier, names

#: A message whose event is not to be found is asked again for so long: a read may be stale.
UNKNOWN_SECONDS = 60.0

#: Attempts to reach a store that does not answer, before the message is put off.
STORE_ATTEMPTS = 4

MAX_BACKOFF_SECONDS = 60.0

#: A handler whose documents somebody else changed meanwhile looks again after so long.
CONTENTION_SECONDS = (0.02, 0.3)

#: No other side is waited for longer, whatever it asks: others may wait behind the event.
MAX_RETRY_AFTER_SECONDS = 3600.0

#: An actor that names a wait itself may make it longer than its `Retries` say by up to this factor.
MAX_STRETCH = 1.5

_log = structlog.get_logger(__name__)


class Cancelled(LightningError):
    """Nothing is to come of the event any more."""

    code = "cancelled"


class Step:
    """Runs actors on events.

    Parameters:
      log: The event log.
      dispatch: Sends the messages of what follows.
      actors: Each actor by its name in `TYPES`.
      owner: A name for this process that no other has.
      claim_seconds: How long a claim holds; it is renewed while a handler runs.
      max_attempts: Attempts after which an event is dead.
      backoff_seconds: The wait after the first failed attempt; it doubles.
      crash: Told of every point between claim, effect, commit and send.
    """

    def __init__(
        self,
        log: EventLog,
        dispatch: Dispatch,
        actors: Mapping[str, Actor],
        *,
        owner: str,
        claim_seconds: float = 30.0,
        max_attempts: int = 5,
        backoff_seconds: float = 1.0,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._log = log
        self._dispatch = dispatch
        self._actors = actors
        self._owner = owner
        self._claim_seconds = claim_seconds
        doubling = tuple(min(backoff_seconds * 2**n, MAX_BACKOFF_SECONDS) for n in range(max_attempts))
        self._retries = Retries(max_attempts, doubling)
        self._crash = crash
        self._metrics = StepMetrics()

    async def run(self, message: Wakeup) -> bool:
        """Look at the event of a message, and do what is to be done. Returning acknowledges it.

        Returns:
          Whether the event was claimed; else there was nothing to do.
        """
        self._log.resume(message.fresh_session(time.time()))
        verdict: Verdict = None
        try:
            verdict = await self._log.claim(
                message.user_id, message.event_id, message.wake, self._owner, self._claim_seconds
            )
            await self._follow(message, verdict)
        except ClaimLost as lost:
            _log.warning(lost.code, event_id=message.event_id)
            await self._release(message.user_id, message.event_id)
        except Transient as error:
            _log.warning("step_put_off", event_id=message.event_id, error=error.message)
            await self._again(message, error.retry_after or 5.0)
        except Exception:  # noqa: BLE001 -- a fault of ours: the claim runs out, and the sweep tries again
            _log.exception("step_failed", event_id=message.event_id)
        return isinstance(verdict, Claimed)

    async def bury(self, message: Wakeup, error: LightningError) -> None:
        """Declare an event dead whose message the broker gave up.

        Raises:
          Transient: Somebody is at work on it, or the store does not answer; try later.
        """
        verdict = await self._log.claim(
            message.user_id, message.event_id, message.wake, self._owner, self._claim_seconds
        )
        if isinstance(verdict, Later):
            raise Transient("the event is being worked on", retry_after=max(1.0, verdict.at - time.time()))
        if isinstance(verdict, Claimed):
            await self._commit(verdict, error)

    async def _follow(self, message: Wakeup, verdict: Verdict) -> None:
        match verdict:
            case Claimed():
                self._metrics.claimed(verdict.event, message.sent_at)
                self._crash("step:claimed")
                await self._work(verdict)
            case Ended(event):
                await self._announce_what_follows(event)
                await self._release(event["userID"], event["id"], event)
            case Later(_, at):
                await self._again(message, at - time.time())
            case Void():
                pass
            case None if time.time() - message.sent_at < UNKNOWN_SECONDS:
                await self._again(message, 1.0)
            case None:
                _log.error("event_unknown", event_id=message.event_id, user=message.user_id)

    async def _work(self, claim: Claimed) -> None:
        event, begun = claim.event, time.monotonic()
        trace.get_current_span().set_attributes(
            {names.TYPE: event["type"], names.ATTEMPT: event["attempts"], names.EVENT: event["id"]}
        )
        outcome: Outcome | LightningError
        retries = self._retries_of(event)
        if await self._log.is_cancelled(event):
            outcome = Cancelled("what it follows from was cancelled")
        elif event["attempts"] > retries.attempts:
            outcome = Permanent(
                f"given up after {retries.attempts} attempts that ended without an outcome",
                code=(event["error"] or {}).get("code", "attempts_exhausted"),
            )
        else:
            holding = Holding(self._log, claim, self._owner, self._claim_seconds)
            outcome = await self._handle(holding)
            claim = holding.claim
        self._crash("step:handled")
        await self._commit(claim, outcome)
        self._metrics.ended(event, outcome, time.monotonic() - begun)

    async def _handle(self, holding: Holding) -> Outcome | LightningError:
        event = holding.claim.event
        kind = TYPES.get(event["type"])
        if kind is None:
            return Permanent(f"this version knows no events of type {event['type']}", code="unknown_type")
        try:
            metadata = kind.metadata.model_validate(event["metadata"])
        except ValidationError:
            return Permanent("the recorded metadata does not fit its type", code="invalid_metadata")
        try:
            outcome = await holding.during(self._actors[kind.actor].handle(event, metadata))
            check(outcome)
        except ClaimLost:
            raise
        except (Transient, Permanent) as error:
            return error
        except LightningError as error:
            return Transient(error.message, code=error.code)
        except Exception as error:  # noqa: BLE001 -- whatever an actor raises ends as an outcome
            _log.exception("handler_failed", event_id=event["id"], type=event["type"])
            outcome = Transient(f"{type(error).__name__} in the handler", code="unexpected_error")
            is_out_of_memory = isinstance(error, MemoryError)
        else:
            return outcome
        if is_out_of_memory:
            gc.collect()  # what the handler held is needed by others now, not when the collector next looks
        return outcome

    async def _commit(self, claim: Claimed, outcome: Outcome | LightningError, *, turns: bool = True) -> None:
        """Write the outcome once, whatever it is, then send what follows.

        Parameters:
          claim: The event.
          outcome: How it ends.
          turns: Whether messages in conversations may follow.
        """
        try:
            if has_sequel(outcome) and await self._log.is_cancelled(claim.event):
                follow = await self._record_patiently(claim, Cancelled("what it follows from was cancelled"))
                await self._record_late(claim.event, outcome)
            else:
                follow = await self._record_patiently(claim, outcome, turns=turns)
        except PreconditionFailed as lost:
            if isinstance(outcome, Done) and _is_of(outcome, lost):
                # what the handler read is not so any more: it looks again
                wait = random.uniform(*CONTENTION_SECONDS)  # noqa: S311 -- it only spreads the load
                await self._commit(claim, Again(wait, keep_attempts=True))
                return
            _log.info("outcome_dropped", event_id=claim.event["id"], why="somebody else was first")
            await self._record_late(claim.event, outcome)
            await self._release(claim.event["userID"], claim.event["id"])
            return
        except Permanent as error:
            if not isinstance(outcome, Done | Again):
                raise
            await self._commit(claim, error)  # the store takes no such outcome, ever
            return
        except Conflict as refused:
            if not turns:
                raise
            # what else follows does not depend on a conversation that was deleted, or where many wait
            _log.warning("message_not_taken", event_id=claim.event["id"], why=refused.message)
            await self._commit(claim, outcome, turns=False)
            return
        self._crash("step:committed")
        await self._dispatch.announce(follow)
        self._crash("step:sent")
        if not isinstance(outcome, Done | Again):
            await self._release(claim.event["userID"], claim.event["id"])

    async def _record_late(self, event: EventDocument, outcome: Outcome | LightningError) -> None:
        """Note on an event that was cancelled meanwhile what came of it; it changes nothing else."""
        if not isinstance(outcome, Done):
            return
        outputs = [
            {"name": output.name, "type": output.type, "metadata": output.document()}
            for output in outcome.outputs
        ]
        if await self._log.interventions.record_late(event["userID"], event["id"], outputs):
            _log.info("late_result", event_id=event["id"])

    async def _record_patiently(
        self, claim: Claimed, outcome: Outcome | LightningError, *, turns: bool = True
    ) -> list[Wakeup]:
        """Try a few times: an answer of a model is not thrown away for a store that blinks."""
        for attempt in range(STORE_ATTEMPTS - 1):
            try:
                return await self._record(claim, outcome, turns=turns)
            except Transient as error:
                _log.warning("commit_failed", event_id=claim.event["id"], error=error.message)
                await asyncio.sleep(0.1 * 4**attempt)
        return await self._record(claim, outcome, turns=turns)

    async def _record(
        self, claim: Claimed, outcome: Outcome | LightningError, *, turns: bool
    ) -> list[Wakeup]:
        event = claim.event
        if isinstance(outcome, Done):
            drafts = _drafts(event, outcome.outputs, turns=turns)
            return wakeups(await self._log.end(claim, "done", outputs=drafts, writes=outcome.writes))
        if isinstance(outcome, Again):
            kept = (event["attempts"] - 1, event["error"]) if outcome.keep_attempts else (0, None)
            if outcome.waits_for is not None:
                kept = kept[0], {"code": outcome.waits_for.code, "message": outcome.waits_for.message}
            if outcome.outputs:
                drafts = _drafts(event, outcome.outputs, turns=turns)
                follow = await self._log.go_on(
                    claim, outcome.after_seconds, drafts, attempts=kept[0], error=kept[1]
                )
                return wakeups(follow)
            later = await self._log.postpone(claim, outcome.after_seconds, attempts=kept[0], error=kept[1])
            return [wakeup(later, delay_seconds=outcome.after_seconds)]
        error = {"code": outcome.code, "message": outcome.message}
        if isinstance(outcome, Cancelled):
            return wakeups(await self._log.end(claim, "cancelled", error=error))
        span = trace.get_current_span()
        span.set_status(trace.StatusCode.ERROR, outcome.message)
        span.set_attribute(names.ERROR_CODE, outcome.code)
        retries = self._retries_of(event)
        if isinstance(outcome, Transient) and event["attempts"] < retries.attempts:
            wait = _wait(retries, event["attempts"], outcome.retry_after)
            later = await self._log.postpone(claim, wait, attempts=event["attempts"], error=error)
            return [wakeup(later, delay_seconds=wait)]
        _log.warning("event_dead", event_id=event["id"], user=event["userID"], type=event["type"], **error)
        last = await self._last_words(event, outcome)
        follow = _drafts(event, last.outputs, turns=turns)
        try:
            ended = await self._log.end(claim, "dead", outputs=follow, writes=last.writes, error=error)
        except PreconditionFailed as lost:
            if not _is_of(last, lost):
                raise
            raise Transient("what the last words go by has changed", code="contention") from lost
        self._metrics.died(event, outcome)
        return wakeups(ended)

    async def _last_words(self, event: EventDocument, error: LightningError) -> Done:
        """Ask the actor what follows from a death; whatever it answers, the event is dead.

        Raises:
          Transient: It cannot tell while the store is away.
        """
        kind = TYPES.get(event["type"])
        if kind is None:
            return Done()
        try:
            said = await self._actors[kind.actor].on_dead(event, error)
            last = said if isinstance(said, Done) else Done(said)
            check(last)
        except Transient:
            raise
        except Exception:  # noqa: BLE001 -- an actor that fails at this must not keep its event alive
            _log.exception("on_dead_failed", event_id=event["id"], type=event["type"])
            return Done()
        return last

    async def _release(self, user_id: str, event_id: str, event: EventDocument | None = None) -> None:
        """Let go of what an event has outside the log, if it ended without its actor's word."""
        try:
            event = event or await self._log.get(user_id, event_id)
            if event is None or event["state"] not in {"cancelled", "dead"} or event["type"] not in TYPES:
                return
            await self._actors[TYPES[event["type"]].actor].release(event)
        except LightningError as error:
            _log.warning("release_failed", event_id=event_id, error=error.message)
        except Exception:  # noqa: BLE001 -- a fault of ours: the event is over all the same
            _log.exception("release_failed", event_id=event_id)

    def _retries_of(self, event: EventDocument) -> Retries:
        kind = TYPES.get(event["type"])
        own = None if kind is None else self._actors[kind.actor].retries
        return own or self._retries

    async def _announce_what_follows(self, event: EventDocument) -> None:
        """Send again for what nobody finished: a crash may have come between commit and send.

        That is the outputs, and the message whose turn came when this one ended.
        """
        found = [await self._log.get(event["userID"], output) for output in event["outputs"]]
        follow = [*found, await self._log.front(event)]
        await self._dispatch.announce(wakeups(each for each in follow if each is not None))

    async def _again(self, message: Wakeup, delay_seconds: float) -> None:
        await self._dispatch.announce(
            [
                replace(
                    message,
                    delay_seconds=max(0.0, delay_seconds),
                    trace=carrier.current() or message.trace,
                )
            ]
        )


def _wait(retries: Retries, attempts: int, retry_after: float | None) -> float:
    """Give the seconds before the next attempt: what the other side asked for, or the actor's own."""
    if retry_after is not None:
        return min(retry_after, max(MAX_RETRY_AFTER_SECONDS, retries.wait(attempts) * MAX_STRETCH))
    return retries.wait(attempts) * random.uniform(0.5, 1.0)  # noqa: S311 -- it only spreads the load


def _is_of(outcome: Done, lost: PreconditionFailed) -> bool:
    """Tell whether it is a document of the handler's that somebody else has changed, not the event."""
    return lost.pointer in {document_id(each) for each in outcome.writes}


def _drafts(cause: EventDocument, outputs: Sequence[Output], *, turns: bool) -> list[Draft]:
    return [output.draft(cause) for output in outputs if turns or output.type not in TURN_TYPES]
