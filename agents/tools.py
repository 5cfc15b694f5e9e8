"""The tools of the shell agent, for OpenAI's function calling, and how what the model gives them is read."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

#: A command may take so long, unless the model says otherwise.
USUAL_SECONDS = 120
MOST_SECONDS = 1800

BASH = "bash"
FINISH = "finish"

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": BASH,
            "description": "Run a command in bash, and get its exit code and what it printed.",
            "parameters": {
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "What bash is told; several lines will do."},
                    "timeout_seconds": {
                        "type": "number",
                        "description": f"After so long it is ended: {USUAL_SECONDS} usually, "
                        f"{MOST_SECONDS} at most.",
                    },
                },
                "required": ["command"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": FINISH,
            "description": "Say that the work is over: it is done, or it cannot be done.",
            "parameters": {
                "type": "object",
                "properties": {
                    "succeeded": {"type": "boolean", "description": "Whether the task is done as asked."},
                    "summary": {
                        "type": "string",
                        "description": "What was done, or why it could not be; the answer to a question.",
                    },
                },
                "required": ["succeeded", "summary"],
            },
        },
    },
]

_KINDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    BASH: {"command": str, "timeout_seconds": (int, float)},
    FINISH: {"succeeded": bool, "summary": str},
}

_OPTIONAL = frozenset({"timeout_seconds"})

#: What no command can hold, and nobody be told: a zero, and halves of characters.
_UNSPEAKABLE = re.compile("[\0\ud800-\udfff]")


class WrongCall(Exception):
    """The model calls a tool as it cannot be called; the message tells it how."""


def arguments_of(name: str, text: str) -> dict[str, Any]:
    """Read the arguments of a call.

    Parameters:
      name: The tool.
      text: What the model wrote.

    Raises:
      WrongCall: There is no such tool, or the arguments are not its own.
    """
    kinds = _KINDS.get(name)
    if kinds is None:
        raise WrongCall(f"There is no tool {name!r}; there are: {', '.join(_KINDS)}.")
    try:
        given: object = json.loads(text)
    except ValueError as error:
        raise WrongCall(f"The arguments are no JSON: {error}. Nothing was done; call again.") from None
    if not isinstance(given, dict):
        raise WrongCall("The arguments are no JSON object. Nothing was done; call again.")
    read = cast("dict[str, Any]", given)
    for argument, kind in kinds.items():
        value = read.get(argument)
        if value is None and argument in _OPTIONAL:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise WrongCall(f"{argument!r} is missing or of the wrong type. Nothing was done; call again.")
        if isinstance(value, str) and _UNSPEAKABLE.search(value):
            raise WrongCall(f"{argument!r} has a character that is none. Nothing was done; call again.")
    return {argument: read[argument] for argument in kinds if read.get(argument) is not None}


def seconds_of(given: Mapping[str, Any]) -> float:
    """Say how long a command may take."""
    return min(max(1.0, float(given.get("timeout_seconds", USUAL_SECONDS))), MOST_SECONDS)
