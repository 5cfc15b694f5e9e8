"""Conversations: what a user calls them, what they ask of the model, and how they are forgotten.

The document is the one that holds the queue of turns (`lightning.log.turns`); the messages are events of the
log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lightning.domain.approvals import KIND as APPROVAL
from lightning.domain.deliveries import forget_answers
from lightning.domain.turns import KIND as REPLY
from lightning.domain.turns import WAITING
from lightning.errors import Conflict, NotFound, PreconditionFailed
from lightning.events import Draft, EventDocument, now_text
from lightning.ids import conversation_document_id, derived_id
from lightning.log import EventLog, documents
from lightning.log.change import CONTAINER
from lightning.log.turns import CONTINUED, ConversationDocument, as_conversation, new_conversation
from lightning.storage import Create, Delete, Operation, Replace, Storage, Stored, Where
from lightning.telemetry import carrier

#: What says what a model may do.
PERMITTING = frozenset({"tools", "repo", "network", "budget"})

#: What is said in a conversation.
SPOKEN = ("llm.chat", "llm.chat.response")

#: What tells of it besides, and is forgotten with it.
TELLING = (*SPOKEN, CONTINUED, "approval.requested")

#: What stands beside it in the store.
BESIDE = (REPLY, WAITING, APPROVAL)

#: Events that one batch forgets.
ERASED_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """A page of conversations, and the token that asks for the next one."""

    conversations: list[ConversationDocument]
    next: str | None


class Conversations:
    """Every user's conversations.

    Parameters:
      storage: Where they stand, beside the events.
      log: What is said in them.
    """

    def __init__(self, storage: Storage, log: EventLog) -> None:
        self._storage = storage
        self._log = log

    async def find(self, user_id: str, conversation_id: str) -> ConversationDocument | None:
        """Read a conversation; one that is being deleted is not there."""
        stored = await self._stored(user_id, conversation_id)
        return None if stored is None or stored.body.get("deleted") else as_conversation(stored)

    async def newest(self, user_id: str | None, *, limit: int, page: str | None = None) -> ConversationPage:
        """List a user's conversations, the one that was last spoken in first.

        Parameters:
          user_id: Whose; None is everybody's, the one that was begun last first.
          limit: At most so many.
          page: Where the page before ended.

        Raises:
          ValueError: The page token is not one of ours.
        """
        found = await self._storage.query(
            CONTAINER,
            user_id,
            [Where("kind", "=", "conversation")],
            order_by="createdAt" if user_id is None else "seq",
            descending=True,
            limit=limit,
            page=page,
        )
        shown = [as_conversation(stored) for stored in found.items if not stored.body.get("deleted")]
        return ConversationPage(shown, found.next)

    async def create(
        self, user_id: str, conversation_id: str, properties: Mapping[str, Any]
    ) -> ConversationDocument:
        """Make a conversation before anybody has spoken in it.

        Parameters:
          user_id: Whose.
          conversation_id: What it is called in events.
          properties: ``title``, ``systemPrompt``, ``model``; what its model may do: ``tools``, ``repo``,
            ``network``, ``budget``.

        Raises:
          Conflict: There is one of that name (``conversation_exists``).
        """
        head = await self._log.head(user_id)
        document = _changed(new_conversation(user_id, conversation_id, seq=head["seq"]), properties)
        try:
            await self._write(user_id, Create(cast("dict[str, Any]", document)))
        except Conflict:
            raise Conflict(
                "there is a conversation of that name", code="conversation_exists", pointer="/conversationID"
            ) from None
        return document

    async def change(
        self, user_id: str, conversation_id: str, properties: Mapping[str, Any]
    ) -> ConversationDocument:
        """Change what a conversation asks for, or what its model may do; None takes a property away.

        What its user has agreed to before holds for what the model could do then, and is forgotten with it.

        Raises:
          NotFound: There is no such conversation.
        """
        while True:
            stored = await self._existing(user_id, conversation_id)
            document = _changed(as_conversation(stored), properties)
            try:
                await self._write(user_id, Replace(cast("dict[str, Any]", document), stored.etag))
            except PreconditionFailed:
                continue
            return document

    async def delete(self, user_id: str, conversation_id: str) -> EventDocument:
        """Have a conversation forgotten: it is gone at once, and what was said in it soon after.

        The mark and the event that does the rest are one batch, so that neither is left without the other.

        Returns:
          The event, to be announced.

        Raises:
          NotFound: There is no such conversation.
        """
        while True:
            stored = await self._existing(user_id, conversation_id)
            document = {**stored.body, "deleted": True}
            draft = Draft(
                id=derived_id(f"{stored.body['id']} {stored.body['createdAt']}", "deletion"),
                type="conversation.deleted",
                source="lightning.conversations",
                metadata={"conversationID": conversation_id, "createdAt": stored.body["createdAt"]},
                timestamp=now_text(),
                trace=carrier.current(),
            )
            try:
                [event] = await self._log.append(user_id, [draft], writes=[Replace(document, stored.etag)])
            except PreconditionFailed:
                continue
            return event

    async def erase(self, user_id: str, conversation_id: str, created_at: str) -> list[Operation] | None:
        """Forget what was said in a conversation that is marked as deleted, however often it is called.

        Parameters:
          user_id: Whose.
          conversation_id: What it is called.
          created_at: When it was made; another of that name is left alone.

        Returns:
          What removes the conversation itself; None when something of it is still being worked on.
        """
        stored = await self._stored(user_id, conversation_id)
        if stored is None or not stored.body.get("deleted") or stored.body["createdAt"] != created_at:
            return []  # it is gone; another of its name is none of ours
        for turn in as_conversation(stored)["turns"]:
            try:
                await self._log.interventions.cancel(user_id, turn)
            except Conflict:
                continue  # it came to its end by itself
        complete = await self._erase_events(user_id, conversation_id)
        complete = await self._delete_beside(user_id, conversation_id) and complete
        try:
            # after the events: what is noted from then on sees that they are forgotten
            await forget_answers(self._storage, user_id, conversation_id)
        except PreconditionFailed:
            complete = False
        stored = await self._stored(user_id, conversation_id)
        if not complete or stored is None or as_conversation(stored)["turns"]:
            return None
        return [Delete(stored.body["id"], stored.etag)]

    async def _erase_events(self, user_id: str, conversation_id: str) -> bool:
        """Forget what the events say; tell whether all of them were over."""
        spoken = [
            Where("kind", "=", "event"),
            Where("conversationID", "=", conversation_id),
            Where("type", "in", TELLING),
        ]
        page, complete = None, True
        while True:
            found = await self._storage.query(
                CONTAINER, user_id, spoken, order_by="seq", limit=ERASED_TOGETHER, page=page
            )
            over = [each for each in found.items if each.body["state"] != "accepted"]
            complete = complete and len(over) == len(found.items)
            writes = [_erasure(each) for each in over if not each.body.get("erased")]
            try:
                await self._storage.batch(CONTAINER, user_id, writes)
            except PreconditionFailed:
                complete = False
            page = found.next
            if page is None:
                return complete

    async def _delete_beside(self, user_id: str, conversation_id: str) -> bool:
        """Remove what a model replied and waits for, and what a person was asked; tell whether all is."""
        where = [Where("conversationID", "=", conversation_id), Where("kind", "in", BESIDE)]
        while True:
            found = await self._storage.query(
                CONTAINER, user_id, where, order_by="seq", limit=ERASED_TOGETHER
            )
            if not found.items:
                return True
            deletions = [Delete(each.body["id"], each.etag) for each in found.items]
            try:
                await self._storage.batch(CONTAINER, user_id, deletions)
            except PreconditionFailed:
                return False

    async def _existing(self, user_id: str, conversation_id: str) -> Stored:
        stored = await self._stored(user_id, conversation_id)
        if stored is None or stored.body.get("deleted"):
            raise NotFound("there is no such conversation, or it is not yours")
        return stored

    async def _stored(self, user_id: str, conversation_id: str) -> Stored | None:
        return await self._storage.get(CONTAINER, user_id, conversation_document_id(conversation_id))

    async def _write(self, user_id: str, operation: Operation) -> None:
        await self._storage.batch(CONTAINER, user_id, [operation])


def _erasure(stored: Stored) -> Replace:
    return Replace(cast("dict[str, Any]", documents.erased(documents.as_event(stored))), stored.etag)


def _changed(document: ConversationDocument, properties: Mapping[str, Any]) -> ConversationDocument:
    changed: dict[str, Any] = {**document, "updatedAt": now_text()}
    if not PERMITTING.isdisjoint(properties):
        changed.pop("approvedTools", None)
    for name, value in properties.items():
        if value is not None:
            changed[name] = value
        elif name == "title":
            changed["title"] = ""
        else:
            changed.pop(name, None)
    return cast("ConversationDocument", changed)
