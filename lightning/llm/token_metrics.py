"""Counts tokens as OpenTelemetry's conventions for generative AI have it: ``gen_ai.client.token.usage``."""

from collections.abc import Mapping
from typing import Final

from opentelemetry.metrics import get_meter

from lightning.llm.port import Usage
from lightning.telemetry import names

_KEPT: Final = (names.GEN_AI_PROVIDER_NAME, names.GEN_AI_REQUEST_MODEL, names.AGENT)

_tokens = get_meter(__name__).create_histogram(
    names.GEN_AI_CLIENT_TOKEN_USAGE, unit="{token}", description="Tokens of a question or of its answer"
)


def count_tokens(usage: Usage, attributes: Mapping[str, str]) -> None:
    """Note what one answer took.

    Parameters:
      usage: Its tokens.
      attributes: Those of its span; provider, model and agent are taken of them.
    """
    kept = {name: attributes[name] for name in _KEPT if name in attributes}
    _tokens.record(usage.prompt_tokens, {**kept, names.GEN_AI_TOKEN_TYPE: "input"})
    _tokens.record(usage.completion_tokens, {**kept, names.GEN_AI_TOKEN_TYPE: "output"})
