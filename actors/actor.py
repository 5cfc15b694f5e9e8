"""What the step needs of an actor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.outcome import Done, Outcome, Output
from lightning.errors import LightningError
from lightning.events import EventDocument


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how far apart, an actor's events are tried again.

    Parameters:
      attempts: Attempts after which an event is dead.
      wait_seconds: The wait after each failed attempt but the last, a little less at random;
        the last one named holds for all further ones.
    """

    attempts: int
    wait_seconds: tuple[float, ...]

    def wait(self, attempts: int) -> float:
        """Give the full wait after so many failed attempts."""
        return self.wait_seconds[min(attempts, len(self.wait_seconds)) - 1]


class Actor(Protocol):
    """Turns one event into what follows from it; plain code, no queue and no log."""

    #: None: as the installation's settings say.
    retries: Retries | None = None

    async def handle(self, event: EventDocument, metadata: Any) -> Outcome:
        """Work on an event.

        It may be called again for the same event: after a crash, or when it
        raised. Its effects must bear that, by keys that derive from the event.

        Parameters:
          event: The event, claimed.
          metadata: Its metadata, typed by its type.

        Raises:
          Transient: It is worth another attempt.
          Permanent: It is not.
        """
        ...

    async def on_dead(self, event: EventDocument, error: LightningError) -> Sequence[Output] | Done:
        """Say what follows when the event is given up, and what is written with it: nobody waits for ever.

        It is asked again where what it read has changed meanwhile. An event that died may be handled once
        more, when somebody replays it: what was told stays told.

        Raises:
          Transient: The store does not answer; the event is given up later.
        """
        ...

    async def release(self, event: EventDocument) -> None:
        """Let go of what an event has outside the log, now that it was cancelled or is dead.

        It is called after the end was recorded, at least once unless a queue is lost; who holds something
        that must not stay has the clock look for it too. Whatever it raises changes nothing.
        """
        del event
