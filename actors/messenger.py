"""Delivers messages to people: live clients are told that there is something to read."""

from actors.actor import Actor
from actors.outcome import Done, Outcome, Output
from lightning.errors import LightningError
from lightning.events import ChatResponseMetadata, EventDocument, UserMessageMetadata
from lightning.live import Notifier


class Messenger(Actor):
    """The messenger actor.

    The message itself is in the user's log, where every client finds it; what
    is sent is a nudge. So a notification that fails loses nothing, and is not
    a reason to try the event again.

    Parameters:
      notifier: Reaches the processes that hold the clients' connections.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    async def handle(
        self, event: EventDocument, metadata: ChatResponseMetadata | UserMessageMetadata
    ) -> Outcome:
        """Tell the user's live clients; see `Actor.handle`."""
        del metadata
        self._notifier.notify(event["userID"], event["seq"])
        return Done()

    def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Nothing follows: the message stands in the log all the same."""
        del event, error
        return []
