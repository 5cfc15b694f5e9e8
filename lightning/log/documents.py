"""How an event stands in the log, from its draft to its outcome."""

from typing import Any, cast

from lightning.events import Claim, Draft, EventDocument, State, now_text
from lightning.storage import Stored

#: A claimed, unclaimed or delayed event is looked at again this often at most.
MAX_SWEEP_SECONDS = 600.0


def as_event(stored: Stored) -> EventDocument:
    """Read a stored document as the event that it is."""
    return cast("EventDocument", stored.body)


def new_event(
    draft: Draft,
    user_id: str,
    seq: int,
    *,
    now: float,
    sweep_at: float,
    cause: EventDocument | None = None,
) -> EventDocument:
    """Give a draft its place in the log.

    Parameters:
      draft: The event to be.
      user_id: Whose log.
      seq: Its place.
      now: Seconds since 1970.
      sweep_at: When it counts as overlooked if nobody claimed it.
      cause: The event that it follows from; without one it is a root.
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
        "dueAt": now,
        "sweepAt": sweep_at,
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
    if draft.type == "llm.chat":
        draft.metadata.setdefault("conversationID", draft.id)
    if "conversationID" in draft.metadata:
        event["conversationID"] = draft.metadata["conversationID"]
    if draft.type == "webhook.delivery":
        event["webhookID"] = draft.metadata["webhookID"]
    return event


def claimed(event: EventDocument, claim: Claim, *, first: bool) -> EventDocument:
    """Take an event, or hold it longer when it is not the first time."""
    attempts = event["attempts"] + (1 if first else 0)
    return {**event, "claim": claim, "attempts": attempts, "sweepAt": claim["until"]}


def ended(
    event: EventDocument, state: State, outputs: list[str], error: dict[str, str] | None
) -> EventDocument:
    """End an event: nobody looks at it again by itself."""
    return {**event, "state": state, "outputs": outputs, "error": error, "claim": None, "sweepAt": None}


def postponed(
    event: EventDocument,
    due_at: float,
    sweep_at: float,
    *,
    attempts: int,
    error: dict[str, str] | None,
) -> EventDocument:
    """Put an event off; messages of the wake before are void from now on."""
    return {
        **event,
        "wake": event["wake"] + 1,
        "attempts": attempts,
        "dueAt": due_at,
        "sweepAt": sweep_at,
        "sweeps": 0,
        "claim": None,
        "error": error,
    }


def held(event: EventDocument) -> EventDocument:
    """Let an event wait until it is released: nobody looks at it, and no message announces it."""
    return {**event, "dueAt": None, "sweepAt": None}


def released(event: EventDocument, now: float, sweep_at: float) -> EventDocument:
    """Let a held event be worked on from now on, under its next wake."""
    return {**event, "wake": event["wake"] + 1, "dueAt": now, "sweepAt": sweep_at, "sweeps": 0}


def revived(event: EventDocument, now: float, sweep_at: float) -> EventDocument:
    """Accept a dead event again."""
    marks = ("cancelledAt", "late")
    plain = cast("EventDocument", {name: value for name, value in event.items() if name not in marks})
    again = released({**plain, "state": "accepted"}, now, sweep_at)
    return {**again, "attempts": 0, "error": None, "outputs": []}


def marked_cancelled(root: EventDocument) -> EventDocument:
    """Note that nothing is to follow from a root any more."""
    return {**root, "cancelledAt": now_text()}


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
    """Note that an overlooked event is announced again, and look later each time."""
    wait = min(first_seconds * 2 ** min(event["sweeps"] + 1, 16), MAX_SWEEP_SECONDS)
    return {**event, "sweepAt": now + wait, "sweeps": event["sweeps"] + 1}


def public(event: EventDocument) -> dict[str, Any]:
    """Give the form in which people see an event."""
    shown = (
        "id", "seq", "type", "source", "userID", "timestamp", "recordedAt", "metadata",
        "root", "cause", "state", "attempts", "outputs", "error",
    )  # fmt: skip
    sometimes = ("cancelledAt", "replayOf", "late", "erased")
    return {name: event.get(name) for name in (*shown, *sometimes) if name in event}
