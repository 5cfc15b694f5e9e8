"""What the log answers to a message that asks for an event."""

from dataclasses import dataclass

from lightning.events import EventDocument


@dataclass(frozen=True, slots=True)
class Claimed:
    """The event is ours until the claim runs out; ``etag`` is the version we hold."""

    event: EventDocument
    etag: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The event needs nobody any more."""

    event: EventDocument


@dataclass(frozen=True, slots=True)
class Later:
    """Another worker has it, or it is not due: look again at ``at`` (seconds since 1970)."""

    event: EventDocument
    at: float


@dataclass(frozen=True, slots=True)
class Void:
    """The message answers a wake that is over, or the event waits for its turn."""


Verdict = Claimed | Ended | Later | Void | None
