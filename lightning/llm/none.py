"""The model of a process that runs no conversations, and so need not load what asks one."""

from collections.abc import AsyncGenerator, Sequence

from lightning.errors import Transient
from lightning.llm.port import DEFAULT, ChatMessage, Options, Piece, ToolSpec


class NoModel:
    """Refuses every call.

    Parameters:
      provider: What the workers ask.
      model: The model that they ask.
    """

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        tools: Sequence[ToolSpec] = (),
        options: Options = DEFAULT,
    ) -> AsyncGenerator[Piece, None]:
        """Refuse; see `LanguageModel.stream`."""
        del messages, model, tools, options
        raise Transient("this process asks no model; a worker does", code="model_unavailable")
        yield  # what makes it a generator

    async def close(self) -> None:
        """Nothing is held."""
