"""Shows a model less when what it was shown is too long for it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from lightning.errors import Permanent
from lightning.llm.port import (
    DEFAULT,
    ChatMessage,
    LanguageModel,
    Options,
    Piece,
    ToolSpec,
)
from lightning.llm.window import halved

_log = structlog.get_logger(__name__)


class FittingModel:
    """A model that is asked again with the newer half of a conversation, as often as that helps.

    Estimates of tokens can be wrong, and the windows of many servers are not known.

    Parameters:
      model: The model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._inner = model
        self.provider = model.provider
        self.model = model.model

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        tools: Sequence[ToolSpec] = (),
        options: Options = DEFAULT,
    ) -> AsyncGenerator[Piece, None]:
        """Ask the model, with less if need be; see `LanguageModel.stream`."""
        shown = messages
        while True:
            refusal: Permanent | None = None
            try:
                async with aclosing(
                    self._inner.stream(shown, model=model, tools=tools, options=options)
                ) as pieces:
                    async for piece in pieces:
                        yield piece
            except Permanent as error:
                if error.code != "context_too_long":
                    raise
                refusal = error
            if refusal is None:
                return
            shorter = halved(shown)
            if shorter is None:
                raise refusal
            _log.info("context_halved", messages=len(shown), left=len(shorter))
            shown = shorter

    async def close(self) -> None:
        """Close the model."""
        await self._inner.close()
