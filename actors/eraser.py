"""Forgets what was said in conversations that their users deleted."""

from actors.actor import Actor
from actors.outcome import Again, Done, Outcome, Output
from lightning.domain.conversations import Conversations
from lightning.errors import LightningError
from lightning.events import ConversationDeletedMetadata, EventDocument

#: How soon it looks again for what was still being worked on.
AGAIN_SECONDS = 1.0


class Eraser(Actor):
    """The eraser actor.

    Parameters:
      conversations: The conversations.
    """

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def handle(self, event: EventDocument, metadata: ConversationDeletedMetadata) -> Outcome:
        """Forget one conversation; see `Actor.handle`."""
        removal = await self._conversations.erase(
            event["userID"], metadata.conversationID, metadata.createdAt
        )
        return Again(AGAIN_SECONDS) if removal is None else Done(writes=removal)

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Nothing follows: the dead event itself tells that something was not forgotten."""
        del event, error
        return []
