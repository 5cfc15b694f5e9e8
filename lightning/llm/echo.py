"""A stand-in for a language model, for trying Lightning without a key."""

import re
from collections.abc import AsyncGenerator, Sequence

from lightning.llm.port import DEFAULT, ChatMessage, Completion, Options, Piece, TextDelta, ToolSpec, Usage

PREFIX = "Echo (no language model is configured): "


class EchoModel:
    """Repeats the last user message, and says that it is no model."""

    provider = "echo"
    model = "echo"

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        tools: Sequence[ToolSpec] = (),
        options: Options = DEFAULT,
    ) -> AsyncGenerator[Piece, None]:
        """Answer word by word, without delay; see `LanguageModel.stream`."""
        said = next((message.content for message in reversed(messages) if message.role == "user"), "")
        words = re.findall(r"\s*\S+\s*", PREFIX + said)
        told = words[: options.limit]  # a word is a token here
        for word in told:
            yield TextDelta(word)
        content = "".join(told)
        asked, answered = sum(len(message.content.split()) for message in messages), len(content.split())
        yield Completion(
            content=content,
            model=self.model,  # whatever was asked for: to sign with another model's name would be a lie
            usage=Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered),
            finish_reason="stop" if len(told) == len(words) else "length",
        )

    async def close(self) -> None:
        """Nothing is held."""
