"""Language models: the port and the adapter that the settings choose."""

from typing import Literal

from lightning.errors import Permanent
from lightning.llm.port import (
    ChatMessage,
    Completion,
    LanguageModel,
    Role,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)

__all__ = [
    "ChatMessage",
    "Completion",
    "LanguageModel",
    "Role",
    "TextDelta",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "open_model",
]

#: Seconds without a byte from the provider before a call counts as lost. Reasoning models
#: can think for a minute before their first token.
DEFAULT_TIMEOUT_SECONDS = 120.0


def open_model(
    *,
    provider: Literal["openai", "echo"],
    api_key: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> LanguageModel:
    """Open the language model that the settings name.

    Parameters:
      provider: ``openai`` for OpenAI or any compatible server; ``echo`` needs nothing else.
      api_key: The provider's key. A server that wants none takes any text.
      model: The model that is asked when a call names none.
      base_url: Another server's address, up to and with ``/v1``; None is OpenAI's own.
      timeout_seconds: The longest silence: to connect, before the answer and between its pieces.

    Returns:
      A model whose `close` the caller awaits in the end.

    Raises:
      Permanent: ``model_not_configured``: a setting that the provider needs is missing or unusable.
    """
    # Imported here because the SDK takes half a second, which echo must not pay.
    if provider == "echo":
        from lightning.llm.echo import EchoModel  # noqa: PLC0415

        return EchoModel()
    if not model:
        raise Permanent("Set OPENAI_MODEL to the model to ask.", code="model_not_configured")
    from lightning.llm.openai import OpenAIModel  # noqa: PLC0415

    return OpenAIModel(api_key=api_key or "", model=model, base_url=base_url, timeout_seconds=timeout_seconds)
