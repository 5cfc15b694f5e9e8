"""What came of a scenario, and whether it is what was expected."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ops.eval.scenario import Expected, FileExpected, Scenario, same_json


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model costs, per million tokens.

    Parameters:
      prompt: Of what it reads.
      completion: Of what it writes.
    """

    prompt: float
    completion: float

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Give what so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a scenario.

    Parameters:
      status: How the run ended.
      result: What the run said itself that came of it.
      files: The files of the repository.
      events: Types of the events that followed.
      log: What was printed.
      commits: Commits of the run.
      metrics: The latest values that the run has measured.
      seconds: How long its container ran.
      run_id: The run.
    """

    status: str
    result: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    events: tuple[str, ...] = ()
    log: str = ""
    commits: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    seconds: float | None = None
    run_id: str | None = None

    def cost(self, prices: Prices | None) -> float | None:
        """Give what its model calls cost; None where that is not known."""
        known = {"prompt_tokens", "completion_tokens"} <= self.metrics.keys()
        if prices is None or not known:
            return None
        return prices.cost(self.metrics["prompt_tokens"], self.metrics["completion_tokens"])

    @property
    def tokens(self) -> int | None:
        """The tokens of its model calls; None where the agent did not measure them."""
        spent = [
            self.metrics[name] for name in ("prompt_tokens", "completion_tokens") if name in self.metrics
        ]
        return int(sum(spent)) if spent else None


def judge(scenario: Scenario, came: Came, prices: Prices | None = None) -> list[str]:
    """List what is not as it was expected; nothing when the scenario is passed."""
    expected = scenario.expect
    return [
        *_ending(expected, came),
        *_files(scenario, came),
        *_followed(expected, came),
        *_bounds(expected, came, prices),
    ]


def _ending(expected: Expected, came: Came) -> Iterator[str]:
    result = came.result
    said = cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    if came.status != expected.status:
        why = f": {said['summary']}" if "summary" in said else ""
        yield f"status is {came.status}, not {expected.status}{why}"
    if expected.outcome is not None and said.get("outcome") != expected.outcome:
        yield f"outcome is {said.get('outcome')}, not {expected.outcome}"
    text = str(said["summary"]) if "summary" in said else json.dumps(result, ensure_ascii=False)
    for pattern in expected.answer:
        if not re.search(pattern, text, re.MULTILINE):
            yield f"the answer does not match {pattern!r}"


def _files(scenario: Scenario, came: Came) -> Iterator[str]:
    for path, expected in scenario.expect.files.items():
        content = came.files.get(path)
        if expected.absent or content is None:
            if (content is None) != expected.absent:
                yield f"{path} is {'missing' if content is None else 'there'}"
            continue
        text = content.decode(errors="replace")
        yield from (f"{path} {problem}" for problem in _file(expected, text, scenario.files.get(path)))
    if scenario.expect.only:
        given = {path: text.encode() for path, text in scenario.files.items()}
        touched = {path for path in {*given, *came.files} if given.get(path) != came.files.get(path)}
        for path in sorted(touched - scenario.expect.files.keys()):
            yield f"{path} was changed, which nobody asked for"


def _file(expected: FileExpected, text: str, given: str | None) -> Iterator[str]:
    if expected.exact is not None and text != expected.exact:
        yield f"is not exactly as expected: {_shown(text)}"
    if expected.unchanged and text != given:
        yield "was changed"
    for part in expected.contains:
        if part not in text:
            yield f"lacks {part!r}"
    for part in expected.lacks:
        if part in text:
            yield f"holds {part!r}"
    if expected.matches is not None and not re.search(expected.matches, text, re.MULTILINE):
        yield f"does not match {expected.matches!r}"
    if expected.json_equals is not None and not same_json(text, expected.json_equals):
        yield f"is not the expected JSON: {_shown(text)}"


def _followed(expected: Expected, came: Came) -> Iterator[str]:
    if expected.committed is not None and expected.committed != bool(came.commits):
        yield "something was committed" if came.commits else "nothing was committed"
    for kind in expected.events:
        if kind not in came.events:
            yield f"no {kind} followed"
    for part in expected.log_contains:
        if part not in came.log:
            yield f"the log lacks {part!r}"
    for pattern in expected.log_lacks:
        if re.search(pattern, came.log, re.MULTILINE):
            yield f"the log matches {pattern!r}"


def _bounds(expected: Expected, came: Came, prices: Prices | None) -> Iterator[str]:
    commands = came.metrics.get("commands")
    for name, value, most in (
        ("commands", commands, expected.max_commands),
        ("tokens", came.tokens, expected.max_tokens),
        ("seconds", came.seconds, expected.max_seconds),
        ("cost", came.cost(prices), expected.max_cost),
    ):
        if value is not None and most is not None and value > most:
            yield f"{name}: {value:g}, more than {most:g}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
