"""How tools are offered to a model, and how what it writes is read."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from pydantic import ValidationError

from lightning.errors import LightningError, json_pointer
from lightning.llm import ToolSpec
from lightning.metadata import Metadata
from lightning.strict_json import loads
from lightning.tools.port import InvalidCall, Tool

#: Characters of a result that a model is shown.
MAX_RESULT_CHARS: Final = 16 * 1024

#: Bytes of the arguments of a call.
MAX_ARGUMENTS_BYTES: Final = 128 * 1024


def specs(tools: Iterable[Tool]) -> list[ToolSpec]:
    """Describe tools to a model."""
    return [ToolSpec(tool.name, tool.description, tool.arguments.model_json_schema()) for tool in tools]


def arguments_of(tool: Tool, text: str) -> Metadata:
    """Read the arguments of a call, which a model wrote.

    Raises:
      InvalidCall: They are not JSON that fits the tool's schema; the message says where.
    """
    try:
        raw = loads((text or "{}").encode(errors="replace"), max_bytes=MAX_ARGUMENTS_BYTES)
        return tool.arguments.model_validate(raw)
    except LightningError as error:
        raise InvalidCall(f"the arguments cannot be read: {error.message}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = json_pointer(first["loc"]) or "the arguments"
        raise InvalidCall(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def bounded(value: object, limit: int = MAX_RESULT_CHARS) -> str:
    """Write a result for a model, as JSON where it is no text, and cut off what is too long."""
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[cut off: {len(text) - limit} characters more]"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
