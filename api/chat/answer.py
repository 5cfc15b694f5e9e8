"""One answer on the page, while it is written and when it is recorded."""

import chainlit as cl

from api.chat import shown
from lightning.client import ClientError, Piece, Restarted


class ShownAnswer:
    """An answer, which appears with its first words.

    Parameters:
      thread: The conversation.
    """

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._message: cl.Message | None = None

    @property
    def id(self) -> str | None:
        """The message that shows it; None while there is nothing to show."""
        return None if self._message is None else self._message.id

    async def add(self, piece: Piece) -> None:
        """Show what is written next."""
        message = self._shown()
        if isinstance(piece, Restarted):
            message.content = ""
            await message.update()
        else:
            await message.stream_token(piece)

    async def finish(self, content: str, root: str) -> None:
        """Show it as it is recorded; without a word, there is nothing to show."""
        if content or self._message is not None:
            message = self._shown()
            message.content = shown.answer(content, root)
            await message.send()

    async def fail(self, error: ClientError) -> None:
        """Say why there is none."""
        if self._message is not None:
            await self._message.send()
        text = "Cancelled." if error.code == "cancelled" else str(error)
        await cl.ErrorMessage(text, author=shown.ASSISTANT).send()

    def _shown(self) -> cl.Message:
        if self._message is None:
            self._message = cl.Message("", author=shown.ASSISTANT)
        return self._message
