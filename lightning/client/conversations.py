"""The calls about conversations, which both clients have."""

from typing import Any

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import Conversation, ConversationPage, Event, MessagePage


class ConversationCalls(Caller):
    """What a client can do with conversations."""

    def conversations(self, **parameters: str | int) -> ConversationPage:
        """List conversations: ``limit``, ``page``."""
        return self._call(requests.conversations(parameters))

    def create_conversation(self, **fields: Any) -> Conversation:
        """Begin a conversation: ``title``, ``systemPrompt``, ``model``, each if wanted."""
        return self._call(requests.create_conversation(fields))

    def conversation(self, conversation_id: str) -> Conversation:
        """Read a conversation, without its messages."""
        return self._call(requests.conversation(conversation_id))

    def messages(self, conversation_id: str, **parameters: str | int) -> MessagePage:
        """List what was said in a conversation: ``before``, ``limit``."""
        return self._call(requests.messages(conversation_id, parameters))

    def change_conversation(self, conversation_id: str, **fields: Any) -> Conversation:
        """Change a conversation's ``title``, ``systemPrompt`` or ``model``."""
        return self._call(requests.change_conversation(conversation_id, fields))

    def delete_conversation(self, conversation_id: str) -> Event:
        """Have a conversation forgotten: it is gone at once.

        Returns:
          The event that is done when nothing of what was said is left.
        """
        return self._call(requests.delete_conversation(conversation_id))


class AsyncConversationCalls(AsyncCaller):
    """What a client for asyncio can do with conversations; see `ConversationCalls`."""

    async def conversations(self, **parameters: str | int) -> ConversationPage:
        """List conversations: ``limit``, ``page``."""
        return await self.call(requests.conversations(parameters))

    async def create_conversation(self, **fields: Any) -> Conversation:
        """Begin a conversation: ``title``, ``systemPrompt``, ``model``, each if wanted."""
        return await self.call(requests.create_conversation(fields))

    async def conversation(self, conversation_id: str) -> Conversation:
        """Read a conversation, without its messages."""
        return await self.call(requests.conversation(conversation_id))

    async def messages(self, conversation_id: str, **parameters: str | int) -> MessagePage:
        """List what was said in a conversation: ``before``, ``limit``."""
        return await self.call(requests.messages(conversation_id, parameters))

    async def change_conversation(self, conversation_id: str, **fields: Any) -> Conversation:
        """Change a conversation's ``title``, ``systemPrompt`` or ``model``."""
        return await self.call(requests.change_conversation(conversation_id, fields))

    async def delete_conversation(self, conversation_id: str) -> Event:
        """Have a conversation deleted; see `Client.delete_conversation`."""
        return await self.call(requests.delete_conversation(conversation_id))
