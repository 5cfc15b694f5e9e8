"""Delivers messages to people: to live clients, and to the endpoints that the user named."""

from actors.actor import Actor
from actors.chat_answers import ChatAnswers
from actors.outcome import Again, Done, Outcome, Output
from actors.task_joins import TaskJoins
from lightning.domain.webhook import recipients
from lightning.domain.webhooks import Webhooks
from lightning.errors import LightningError
from lightning.events import (
    ChatResponseMetadata,
    EventDocument,
    UserMessageMetadata,
    WebhookDeliveryMetadata,
)
from lightning.live import Notifier

SOURCE = "lightning.messenger"

#: A group that is being looked at when one of its tasks ends is told again so soon.
LOOKED_AT_SECONDS = 0.2


class Messenger(Actor):
    """The messenger actor.

    The message itself is in the user's log, where every client finds it; what
    is sent to live clients is a nudge. So a notification that fails loses
    nothing, and is not a reason to try the event again. What goes to a webhook
    is an event of its own, with its own attempts: none waits for another.

    Parameters:
      notifier: Reaches the processes that hold the clients' connections.
      webhooks: The users' endpoints.
      joins: Tells groups that one of their tasks is over.
      answers: Finds the calls of tools that results answer.
    """

    def __init__(
        self, notifier: Notifier, webhooks: Webhooks, joins: TaskJoins, answers: ChatAnswers
    ) -> None:
        self._notifier = notifier
        self._webhooks = webhooks
        self._joins = joins
        self._answers = answers

    async def handle(
        self, event: EventDocument, metadata: ChatResponseMetadata | UserMessageMetadata
    ) -> Outcome:
        """Tell the user's live clients, webhooks, and the conversation that waits; see `Actor.handle`."""
        self._notifier.notify(event["userID"], event["seq"])
        if not await self._joins.told(event):
            return Again(LOOKED_AT_SECONDS, keep_attempts=True)
        webhooks = await self._webhooks.of(event["userID"])
        to = metadata.to if isinstance(metadata, UserMessageMetadata) else None
        deliveries = [
            Output(
                f"webhook-{webhook.id}",
                "webhook.delivery",
                WebhookDeliveryMetadata(webhookID=webhook.id, eventID=event["id"]),
                SOURCE,
            )
            for webhook in recipients(webhooks, event["type"], to)
        ]
        following, writes = await self._answers.of(event)
        return Done([*deliveries, *following], writes)

    async def on_dead(self, event: EventDocument, error: LightningError) -> Done:
        """Answer the call that waits for it; the message itself stands in the log all the same."""
        del error
        following, writes = await self._answers.of(event)
        return Done(following, writes)
