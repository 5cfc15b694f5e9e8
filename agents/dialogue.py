"""What is said between an agent and its model, in the words of OpenAI's chat completions, within bounds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.kept import shorten

#: Of what was left out to save room, so much still tells what it was.
_TRACE_CHARS = 100

#: An output so short is not shortened any more.
_SHORT_CHARS = 1000

_LEFT_OUT = "[left out to save room; run the command again if it matters]"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model calls.

    Parameters:
      id: Its id within the dialogue.
      name: The tool.
      arguments: JSON, if the model wrote it well.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said.

    Parameters:
      content: Its text.
      calls: The tools that it calls.
      is_cut: Whether it would have said more.
      prompt_tokens: What the question cost.
      completion_tokens: What the answer cost.
    """

    content: str
    calls: Sequence[Call]
    is_cut: bool
    prompt_tokens: int
    completion_tokens: int


def read(completion: Mapping[str, Any], turn: int) -> Reply:
    """Read a chat completion; calls without an id of their own get one.

    Parameters:
      completion: As the gateway answers it.
      turn: Which one it is.
    """
    choice, usage = completion["choices"][0], completion["usage"]
    calls: list[Call] = []
    for number, each in enumerate(choice["message"].get("tool_calls") or ()):
        is_known = any(call.id == each["id"] for call in calls)
        own = each["id"] if each["id"] and not is_known else f"call-{turn}-{number}"
        calls.append(Call(own, each["function"]["name"], _clean(each["function"]["arguments"])))
    return Reply(
        content=_clean(choice["message"].get("content") or ""),
        calls=calls,
        is_cut=choice["finish_reason"] == "length",
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
    )


def _clean(text: str) -> str:
    """Leave out what the platform would not take back."""
    return text.replace("\0", "")


class Dialogue:
    """All that was said, oldest first; it begins with what the model is, and the task, which always stay.

    Parameters:
      system: What the model is told that it is.
      task: What it is to do.
      most_chars: When more was said, the oldest outputs and commands are left out.
    """

    def __init__(self, system: str, task: str, *, most_chars: int) -> None:
        self._most_chars = most_chars
        self._kept = [{"role": "system", "content": system}, {"role": "user", "content": task}]
        self._said: list[dict[str, Any]] = []
        self._shrunk = 0

    def messages(self) -> list[dict[str, Any]]:
        """Give what the model is asked to continue."""
        while self._size() > self._most_chars and self._shrink_oldest():
            pass
        return [*self._kept, *self._said]

    def shrink(self) -> bool:
        """Leave out the older half of it, since the model takes no more; tell whether there was any.

        When only the latest turn is left, its outputs lose their middle.
        """
        self._most_chars = self._size() // 2
        if self._shrink_oldest():
            return True
        long = [each for each in self._said if each["role"] == "tool" and len(each["content"]) > _SHORT_CHARS]
        for each in long:
            each["content"] = shorten(each["content"], len(each["content"]) // 2)
        return bool(long)

    def reply(self, reply: Reply) -> None:
        """Add what the model said; each call must be answered by a `result`."""
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in reply.calls
        ]
        said = {"role": "assistant", "content": reply.content or None}
        self._said.append({**said, "tool_calls": calls} if calls else said)

    def result(self, call: Call, text: str) -> None:
        """Add what a call gave."""
        self._said.append({"role": "tool", "tool_call_id": call.id, "content": text})

    def remark(self, text: str) -> None:
        """Add a word to the model that no tool says."""
        self._said.append({"role": "user", "content": text})

    def _size(self) -> int:
        return sum(len(json.dumps(each, ensure_ascii=False)) for each in (*self._kept, *self._said))

    def _shrink_oldest(self) -> bool:
        """Shorten the oldest whole message that is not of the latest turn; tell whether there is one."""
        latest = max((n for n, each in enumerate(self._said) if each["role"] == "assistant"), default=0)
        if self._shrunk >= latest:
            return False
        message = self._said[self._shrunk]
        self._shrunk += 1
        if message["role"] == "tool" and len(message["content"]) > len(_LEFT_OUT):
            message["content"] = _LEFT_OUT
        for call in message.get("tool_calls", ()):
            called = call["function"]
            if len(called["arguments"]) > 2 * _TRACE_CHARS:
                called["arguments"] = json.dumps({"left_out": shorten(called["arguments"], _TRACE_CHARS)})
        return True
