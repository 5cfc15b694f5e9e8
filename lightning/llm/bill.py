"""What a model call has cost so far, by our estimate until its server says it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson

from lightning.errors import LightningError, Transient
from lightning.llm.port import ChatMessage, Completion, Piece, TextDelta, ToolCallDelta, Usage
from lightning.llm.window import Estimator

#: A call that takes longer is ended, or was left by a process that died.
CALL_SECONDS: Final = 900.0

#: What was reserved for a call counts as spent so long after the call must have ended.
GRACE_SECONDS: Final = 60.0

#: Failures for which no provider asks to be paid: it did not begin.
_FREE: Final = frozenset({"model_rate_limited", "model_unreachable", "model_identity_unavailable"})


@dataclass(slots=True)
class Bill:
    """The bill of one call.

    Parameters:
      prompt_tokens: The tokens of the question, estimated.
      usage: What its server counted.
      free: Whether nothing is to be paid.
    """

    prompt_tokens: int
    usage: Usage | None = None
    free: bool = False
    _texts: list[str] = field(default_factory=list[str])

    def add(self, piece: Piece) -> None:
        """Count a piece of the answer; with the last one comes what its server has counted."""
        match piece:
            case TextDelta():
                self._texts.append(piece.text)
            case ToolCallDelta():
                self._texts.append(piece.name + piece.arguments)
            case Completion():
                self.usage = piece.usage

    def fail(self, error: LightningError) -> None:
        """Take in that the call failed."""
        self.free = error.code in _FREE or not isinstance(error, Transient)

    def estimate(self) -> Usage:
        """Estimate the usage."""
        answered = Estimator().message("".join(self._texts)) if self._texts else 0
        return Usage(self.prompt_tokens, answered, self.prompt_tokens + answered)

    @property
    def tokens(self) -> int:
        """The tokens to be paid for."""
        return 0 if self.free else (self.usage or self.estimate()).total_tokens


def prompt_tokens(messages: Iterable[ChatMessage], texts: Iterable[str] = ()) -> int:
    """Estimate the tokens of messages, and of what else goes with them."""
    estimate = Estimator().message
    said = (
        message.content + "".join(call.name + call.arguments for call in message.tool_calls)
        for message in messages
    )
    return sum(map(estimate, (*said, *texts)))


def json_text(value: object) -> str:
    """Write a value as JSON, as it is counted."""
    return orjson.dumps(value).decode()
