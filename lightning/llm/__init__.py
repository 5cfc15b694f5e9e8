"""Language models: the port and the adapter that the settings choose."""

from typing import Literal

from lightning.errors import Permanent
from lightning.llm.fitting import FittingModel
from lightning.llm.none import NoModel
from lightning.llm.port import (
    ChatMessage,
    Completion,
    LanguageModel,
    NamedTool,
    Options,
    Piece,
    Role,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
)

__all__ = [
    "ChatMessage",
    "Completion",
    "LanguageModel",
    "NamedTool",
    "NoModel",
    "Options",
    "Piece",
    "Role",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "ToolSpec",
    "Usage",
    "open_model",
]

#: Seconds without a byte from the provider before a call counts as lost. Reasoning models
#: can think for a minute before their first token.
DEFAULT_TIMEOUT_SECONDS = 120.0


def open_model(
    *,
    provider: Literal["openai", "azure-openai", "echo"],
    api_key: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    api_version: str = "v1",
    credential: object | None = None,
    fits: bool = True,
) -> LanguageModel:
    """Open the language model that the settings name.

    Parameters:
      provider: ``openai`` for OpenAI or any compatible server; ``echo`` needs nothing else.
      api_key: The provider's key. A server that wants none takes any text; on Azure, without a key, an
        identity does.
      model: The model that is asked when a call names none; on Azure, its deployment.
      base_url: Another server's address, up to and with ``/v1``, or the endpoint on Azure; None is
        OpenAI's own.
      timeout_seconds: The longest silence: to connect, before the answer and between its pieces.
      api_version: On Azure: ``v1``, or the date of an older version.
      credential: On Azure without a key: who asks, such as azure-identity's credentials are.
      fits: Whether, when what it is shown is too long for it, it is shown the newer half.

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
    if provider == "azure-openai":
        from lightning.llm.azure_openai import open_azure  # noqa: PLC0415

        deployment = open_azure(
            endpoint=base_url or "",
            api_version=api_version,
            model=model,
            timeout_seconds=timeout_seconds,
            api_key=api_key,
            credential=credential,
        )
        return FittingModel(deployment) if fits else deployment
    from lightning.llm.openai import open_openai  # noqa: PLC0415

    server = open_openai(
        api_key=api_key or "", model=model, base_url=base_url, timeout_seconds=timeout_seconds
    )
    return FittingModel(server) if fits else server
