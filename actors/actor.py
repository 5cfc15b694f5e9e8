"""What the step needs of an actor."""

from collections.abc import Sequence
from typing import Any, Protocol

from actors.outcome import Outcome, Output
from lightning.errors import LightningError
from lightning.events import EventDocument


class Actor(Protocol):
    """Turns one event into what follows from it; plain code, no queue and no log."""

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

    def on_dead(self, event: EventDocument, error: LightningError) -> Sequence[Output]:
        """Say what follows when the event is given up, so that nobody waits for ever."""
        ...
