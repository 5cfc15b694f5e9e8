"""How an event stands in the log, from its draft to its outcome."""

from collections.abc import Sequence
from typing import Any, Literal, cast

from lightning.events import Act, Claim, Draft, EventDocument, State, now_text
from lightning.storage import Replace, Stored

#: A claimed, unclaimed or delayed event is looked at again this often at most.
MAX_SWEEP_SECONDS = 600.0

#: No time is written further ahead than this, besides the wait of what was put off: claims are shorter, and
#: so are the looks of what waits for a place. What is further ahead is of before the clock was put back.
AHEAD_SECONDS = 2 * MAX_SWEEP_SECONDS

#: Of what is done to an event from outside, the latest so much is kept.
MAX_ACTS = 20


def as_event(stored: Stored) -> EventDocument:
    """Read a stored document as the event that it is."""
    return cast("EventDocument", stored.body)


def replacing(event: EventDocument, etag: str) -> Replace:
    """Write an event anew, unless somebody else has written it since the version with this etag."""
    return Replace(cast("dict[str, Any]", event), etag)


def new_event(
    draft: Draft,
    user_id: str,
    seq: int,
    *,
    now: float,
    sweep_at: float,
    cause: EventDocument | None = None,
    bulk: bool = False,
) -> EventDocument:
    """Give a draft its place in the log.

    Parameters:
      draft: The event to be.
      user_id: Whose log.
      seq: Its place.
      now: Seconds since 1970.
      sweep_at: When it counts as overlooked if nobody claimed it.
      cause: The event that it follows from; without one it is a root.
      bulk: Whether its user has many under way already.
    """
    event: EventDocument = {
        "id": draft.id,
        "userID": user_id,
        "kind": "event",
        "seq": seq,
        "type": draft.type,
        "source": draft.source,
        "timestamp": draft.timestamp,
        "recordedAt": now_text(),
        "metadata": draft.metadata,
        "root": draft.id if cause is None else cause["root"],
        "cause": None if cause is None else cause["id"],
        "state": "accepted",
        "wake": 0,
        "attempts": 0,
        "claims": 0,
        "dueAt": now + draft.after_seconds,
        "sweepAt": sweep_at + draft.after_seconds,
        "sweeps": 0,
        "claim": None,
        "outputs": [],
        "error": None,
        "trace": draft.trace,
    }
    if draft.fingerprint is not None:
        event["fingerprint"] = draft.fingerprint
    if draft.replay_of is not None:
        event["replayOf"] = draft.replay_of
        event = acted(event, "replay", draft.replayed_by)
    if draft.type == "llm.chat":
        draft.metadata.setdefault("conversationID", draft.id)
    if "conversationID" in draft.metadata:
        event["conversationID"] = draft.metadata["conversationID"]
    if draft.after_seconds:
        event["waitSeconds"] = draft.after_seconds
    if (schedule := _schedule_of(draft, cause)) is not None:
        event["scheduleID"] = schedule
    if draft.type == "webhook.delivery":
        event["webhookID"] = draft.metadata["webhookID"]
    if draft.despite_cancel or (cause is not None and cause.get("despiteCancel")):
        event["despiteCancel"] = True
    if bulk:
        event["bulk"] = True
    return event


def _schedule_of(draft: Draft, cause: EventDocument | None) -> str | None:
    """Name the schedule of a tick, or of what one fires."""
    if draft.type == "schedule.tick":
        return draft.metadata["scheduleID"]
    return None if cause is None or cause["type"] != "schedule.tick" else cause["metadata"]["scheduleID"]


def claimed(event: EventDocument, claim: Claim, *, first: bool) -> EventDocument:
    """Take an event, or hold it longer when it is not the first time."""
    taken = 1 if first else 0
    # an event recorded by a version that did not count them has none
    claims = event.get("claims", event["attempts"]) + taken
    attempts = event["attempts"] + taken
    held = {
        **event,
        "claim": claim,
        "attempts": attempts,
        "claims": claims,
        "sweepAt": None,
        "reclaimAt": claim["until"],
    }
    held.pop("lookAt", None)  # its message has come
    return cast("EventDocument", held)


def ended(
    event: EventDocument, state: State, outputs: list[str], error: dict[str, str] | None
) -> EventDocument:
    """End an event: nobody looks at it again by itself."""
    over = with_outputs(unclaimed(event), outputs)
    now = now_text()
    done: EventDocument = {**over, "state": state, "error": error, "sweepAt": None, "endedAt": now}
    return {**done, "deadAt": now} if state == "dead" else done


def with_outputs(event: EventDocument, outputs: Sequence[str]) -> EventDocument:
    """Note what follows from an event, behind what does already."""
    return {**event, "outputs": list(dict.fromkeys([*event["outputs"], *outputs]))}


def unclaimed(event: EventDocument) -> EventDocument:
    """Let nobody have an event."""
    return {**event, "claim": None, "reclaimAt": None}


def postponed(
    event: EventDocument,
    due_at: float,
    sweep_at: float,
    *,
    wait_seconds: float,
    attempts: int,
    error: dict[str, str] | None,
) -> EventDocument:
    """Put an event off; messages of the wake before are void from now on."""
    return {
        **unclaimed(event),
        "wake": event["wake"] + 1,
        "attempts": attempts,
        "dueAt": due_at,
        "waitSeconds": wait_seconds,
        "sweepAt": sweep_at,
        "sweeps": 0,
        "error": error,
    }


def put_aside(event: EventDocument, look_at: float, first_seconds: float) -> EventDocument:
    """Let a due event wait, unclaimed; messages of the wake before are void from now on.

    Parameters:
      event: The event.
      look_at: When its next message is due.
      first_seconds: So long after that it counts as overlooked; later, if it was swept before.
    """
    sweep_at = look_at + _sweep_wait(event["sweeps"], first_seconds)
    return {**unclaimed(event), "wake": event["wake"] + 1, "lookAt": look_at, "sweepAt": sweep_at}


def held(event: EventDocument) -> EventDocument:
    """Let an event wait until it is released: nobody looks at it, and no message announces it."""
    return {**event, "dueAt": None, "sweepAt": None}


def released(event: EventDocument, now: float, sweep_at: float) -> EventDocument:
    """Let a held event be worked on from now on, under its next wake."""
    again = {**event, "wake": event["wake"] + 1, "dueAt": now, "sweepAt": sweep_at, "sweeps": 0}
    again.pop("waitSeconds", None)
    return cast("EventDocument", again)


def revived(event: EventDocument, now: float, sweep_at: float, *, bulk: bool) -> EventDocument:
    """Accept a dead event again."""
    marks = ("cancelledAt", "late", "bulk", "endedAt", "deadAt")
    plain = cast("EventDocument", {name: value for name, value in event.items() if name not in marks})
    again = released({**plain, "state": "accepted"}, now, sweep_at)
    again = cast("EventDocument", {**again, "attempts": 0, "error": None, "outputs": []})
    if bulk:
        again["bulk"] = True
    return again


def discarded(event: EventDocument) -> EventDocument:
    """Let a dead event count as cancelled; why it died stays with it."""
    kept = {name: value for name, value in event.items() if name != "deadAt"}
    return cast("EventDocument", {**kept, "state": "cancelled"})


def marked_cancelled(root: EventDocument, by: str | None) -> EventDocument:
    """Note that nothing is to follow from a root any more, and who says so."""
    return {**acted(root, "cancel", by), "cancelledAt": now_text()}


def acted(event: EventDocument, act: Literal["cancel", "discard", "replay"], by: str | None) -> EventDocument:
    """Note what is done to an event from outside; ``by`` is a ``userID``, None the platform."""
    done: Act = {"at": now_text(), "act": act, "by": by}
    return {**event, "acts": [*event.get("acts", []), done][-MAX_ACTS:]}


def with_late_result(event: EventDocument, outputs: list[dict[str, Any]]) -> EventDocument:
    """Note what would have followed, had the event not been cancelled meanwhile."""
    return {**event, "late": {"recordedAt": now_text(), "outputs": outputs}}


def erased(event: EventDocument) -> EventDocument:
    """Forget what an event says, and leave that it was there; it belongs to no conversation any more."""
    forgotten = ("late", "conversationID", "fingerprint")
    without = {name: value for name, value in event.items() if name not in forgotten}
    kept = {name: value for name, value in event["metadata"].items() if name == "conversationID"}
    # a provider's words may repeat what was said
    error = event["error"] and {"code": event["error"]["code"], "message": ""}
    return cast("EventDocument", {**without, "metadata": kept, "error": error, "erased": True})


def swept(event: EventDocument, now: float, first_seconds: float) -> EventDocument:
    """Note that an overlooked event is announced again, and look later each time.

    One whose clock was put back waits once more for as long as it was put off for, and no longer.
    """
    sweeps = event["sweeps"] + 1
    at = "sweepAt" if event["claim"] is None else "reclaimAt"
    due_at = now + seconds_until_due(event, now)
    # a version that knew no other time has put the end of a claim into the first
    times = {"lookAt": now, "sweepAt": None, at: due_at + _sweep_wait(sweeps, first_seconds)}
    if event["dueAt"] is not None and event["dueAt"] > due_at:
        times["dueAt"] = due_at
    return cast("EventDocument", {**event, **times, "sweeps": sweeps})


def _sweep_wait(sweeps: int, first_seconds: float) -> float:
    return min(first_seconds * 2 ** min(sweeps, 16), MAX_SWEEP_SECONDS)


def seconds_until_due(event: EventDocument, now: float) -> float:
    """Give the seconds that are left until an event is due: no more than it was put off for.

    A clock that was put back would keep it waiting for as long as that otherwise.
    """
    left = 0.0 if event["dueAt"] is None else event["dueAt"] - now
    return max(0.0, min(left, event.get("waitSeconds", 0.0)))


def is_put_off(event: EventDocument, now: float) -> bool:
    """Tell whether nobody has an event that will be worked on later."""
    return event["state"] == "accepted" and event["claim"] is None and seconds_until_due(event, now) > 0


def is_ahead(event: EventDocument, now: float) -> bool:
    """Tell whether an event's time is so far ahead that the clock was put back since it was written.

    Parameters:
      event: As it stands.
      now: Seconds since 1970.
    """
    claim = event["claim"]
    at = event["sweepAt"] if claim is None else claim["until"]
    plausible = AHEAD_SECONDS if claim is not None else AHEAD_SECONDS + event.get("waitSeconds", 0.0)
    return event["state"] == "accepted" and at is not None and at - now > plausible


def announced_for(event: EventDocument) -> float | None:
    """Give the moment for which the last message of an event was sent; None when it waits for its turn."""
    due_at = event["dueAt"]
    return None if due_at is None else max(due_at, event.get("lookAt", due_at))


def public(event: EventDocument) -> dict[str, Any]:
    """Give the form in which people see an event."""
    shown = (
        "id", "seq", "type", "source", "userID", "timestamp", "recordedAt", "metadata",
        "root", "cause", "state", "attempts", "outputs", "error",
    )  # fmt: skip
    sometimes = ("endedAt", "cancelledAt", "replayOf", "late", "erased")
    return {name: event.get(name) for name in (*shown, *sometimes) if name in event}
