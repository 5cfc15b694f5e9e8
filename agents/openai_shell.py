"""An agent that does what it is told by running commands in bash, which a language model chooses.

It knows nothing but the run API: the model is asked through the platform, which holds the provider's key and
keeps the tokens within the task's budget.
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.brief import Order, system_prompt
from agents.dialogue import Call, Dialogue, Reply, read
from agents.kept import shorten
from agents.run_api import RunApi, RunApiError
from agents.shell import Ran, Shell, hide_memory
from agents.spans import Spans
from agents.tools import BASH, FINISH, TOOLS, WrongCall, arguments_of, seconds_of

#: Commands that one answer of the model may ask for.
MOST_CALLS = 16

#: The model is told again so often that it has said nothing.
MOST_SILENCE = 3

#: What is kept of a command's output, of all that was said, and of what the run says of itself.
OUTPUT_BYTES = 16 * 1024
DIALOGUE_CHARS = 240_000
_SPAN_CHARS = 4096
_PROGRESS_CHARS = 480
_SUMMARY_CHARS = 16_000

#: How it ends, besides 0 and the codes of sysexits.h: wrong input, no model, no right, and more was needed
#: than it may spend.
FAILED, WRONG_INPUT, UNAVAILABLE, NOT_ALLOWED, SPENT = 1, 65, 69, 77, 75

_EMPTY = "You said nothing. Call `bash` to go on, or `finish` to end."
_CUT = "Your answer was too long and was cut off. Write less at a time."


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work ended.

    Parameters:
      code: The exit code.
      outcome: The same in a word that never changes.
      summary: What came of it, for people.
    """

    code: int
    outcome: str
    summary: str


def run(task: Mapping[str, Any], api: RunApi | None, environment: Mapping[str, str]) -> int:
    """Have a language model do what a task says.

    Parameters:
      task: What ``LIGHTNING_TASK`` holds.
      api: The run API, without which there is no model.
      environment: The variables of the run.

    Returns:
      The exit code.
    """
    if api is None:
        return _say("There is no run API here, through which a model could be asked.", UNAVAILABLE)
    hide_memory()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    shell = Shell(Path.cwd(), environment, most_bytes=OUTPUT_BYTES)
    spans = Spans("openai_shell", environment)
    work = _Work(api, shell, spans, environment.get("TRACEPARENT"))
    try:
        ending = work.do(task)
        work.report(ending)
    finally:
        shell.close()
        spans.close()
    return _say(ending.summary, ending.code)


class _Work:
    """The work on one task."""

    def __init__(self, api: RunApi, shell: Shell, spans: Spans, trace: str | None) -> None:
        self._api = api
        self._shell = shell
        self._spans = spans
        self._trace = trace
        self._ending: Ending | None = None
        self._counts = {"turns": 0, "commands": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def do(self, task: Mapping[str, Any]) -> Ending:
        """Do what a task says, and say how that ended."""
        try:
            order = Order.read(task.get("input"))
        except ValueError as error:
            return Ending(WRONG_INPUT, "wrong_input", str(error))
        try:
            model = order.model or self._api.models()[0]
            if model == "echo":
                return Ending(UNAVAILABLE, "no_model", "No language model is set up here, only an echo.")
            system = system_prompt(task, Path.cwd())
            return self._converse(model, Dialogue(system, order.prompt, most_chars=DIALOGUE_CHARS), order)
        except RunApiError as error:
            return _refused(error)

    def _converse(self, model: str, dialogue: Dialogue, order: Order) -> Ending:
        """Ask the model, do what it says, tell it what came of it, until it is over."""
        silence = 0
        for _ in range(order.turns):
            reply = self._ask(model, dialogue)
            if not reply.calls and reply.content.strip() and not reply.is_cut:
                return Ending(0, "finished", reply.content)
            silence = 0 if reply.calls else silence + 1
            if silence == MOST_SILENCE:
                return Ending(FAILED, "model_silent", f"The model said nothing {MOST_SILENCE} times.")
            self._act(reply, dialogue)
            if self._ending is not None:
                return self._ending
        message = f"The model was asked {order.turns} times, as often as it may be, and was not done."
        return Ending(SPENT, "too_many_turns", message)

    def report(self, ending: Ending) -> None:
        """Say what came of it, as far as the platform still listens."""
        usage = {name: self._counts[name] for name in ("prompt_tokens", "completion_tokens")}
        summary = shorten(ending.summary, _SUMMARY_CHARS)
        said = {"outcome": ending.outcome, "summary": summary, "usage": usage}
        if ending.outcome == "not_allowed":
            return
        try:
            for name, value in self._counts.items():
                self._api.metric(name, value, "1")
            counts = {name: self._counts[name] for name in ("turns", "commands")}
            self._api.result({**said, **counts}, shorten(ending.summary, _PROGRESS_CHARS))
        except RunApiError as error:
            _log(f"The result was not taken: {error}")

    def _ask(self, model: str, dialogue: Dialogue) -> Reply:
        """Ask the model; what it takes no more of is left out, the oldest first."""
        self._counts["turns"] += 1
        while True:
            asked = {"model": model, "messages": dialogue.messages(), "tools": TOOLS}
            try:
                reply = read(self._api.complete(asked, trace=self._trace), self._counts["turns"])
            except RunApiError as error:
                if error.code == "context_too_long" and dialogue.shrink():
                    continue
                raise
            self._counts["prompt_tokens"] += reply.prompt_tokens
            self._counts["completion_tokens"] += reply.completion_tokens
            return reply

    def _act(self, reply: Reply, dialogue: Dialogue) -> None:
        if reply.content.strip():
            _log(reply.content)
        if reply.content or reply.calls:
            dialogue.reply(reply)
        for number, call in enumerate(reply.calls):
            if number < MOST_CALLS:
                dialogue.result(call, self._done(call))
            else:
                dialogue.result(call, f"It was not done: {MOST_CALLS} calls at a time. Call again.")
        if not reply.calls:
            dialogue.remark(_CUT if reply.is_cut else _EMPTY)

    def _done(self, call: Call) -> str:
        """Do what one call says, and give what the model is told of it."""
        try:
            given = arguments_of(call.name, call.arguments)
        except WrongCall as wrong:
            _log(f"[the model called a tool wrongly] {wrong}")
            return str(wrong)
        if call.name == FINISH:
            well = given["succeeded"]
            self._ending = Ending(
                0 if well else FAILED,
                "finished" if well else "failed",
                given["summary"] or "It said no more.",
            )
            return "It is over."
        return self._command(call, given["command"], seconds_of(given))

    def _command(self, call: Call, command: str, timeout_seconds: float) -> str:
        self._counts["commands"] += 1
        _log(f"$ {command}")
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": BASH,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.call.arguments": shorten(command, _SPAN_CHARS),
        }
        with self._spans.open(f"execute_tool {BASH}", attributes) as span:
            try:
                ran = self._shell.run(command, timeout_seconds=timeout_seconds, trace=span.trace)
            except (OSError, ValueError) as error:  # no more processes, or no command
                span.failure = type(error).__name__
                said = f"[it could not be started: {error}]"
            else:
                said = _told(ran, timeout_seconds)
                if ran.exit_code != 0:
                    span.failure = "timeout" if ran.exit_code is None else f"exit code {ran.exit_code}"
                if ran.exit_code is not None:
                    span.attributes["process.exit.code"] = ran.exit_code
            span.attributes["gen_ai.tool.call.result"] = shorten(said, _SPAN_CHARS)
        _log(said)
        self._progress(command, said)
        return said

    def _progress(self, command: str, said: str) -> None:
        """Show a command and how it ended; the log has it all, so that only a lost right matters here."""
        head, _, output = said.partition("\n")
        shown = f"$ {shorten(command, _PROGRESS_CHARS // 3)}\n{head}\n{shorten(output, _PROGRESS_CHARS // 3)}"
        try:
            self._api.progress(shown.strip())
        except RunApiError as error:
            if error.status == 401:
                self._ending = _refused(error)


def _told(ran: Ran, timeout_seconds: float) -> str:
    how = f"exit code {ran.exit_code} after {ran.seconds:.1f} s"
    if ran.exit_code is None:
        how = f"ended after {timeout_seconds:g} s, for it took too long"
    elif ran.left_open:
        how += "; something that it started goes on, and what that prints is not shown"
    return f"[{how}]\n{ran.output}"


def _refused(error: RunApiError) -> Ending:
    """Say how it ends when the platform refuses to go on."""
    if error.code == "budget_exhausted":
        return Ending(SPENT, "budget_exhausted", f"The budget of the task is spent. {error}")
    if error.status == 401:
        return Ending(NOT_ALLOWED, "not_allowed", f"The run may not go on: {error}")
    if error.code == "model_not_found":
        return Ending(WRONG_INPUT, "wrong_input", str(error))
    return Ending(UNAVAILABLE, "model_unavailable", f"The model did not answer: {error}")


def _log(text: str) -> None:
    """Print to the run's log, at once."""
    os.write(1, (text.rstrip("\n") + "\n").encode(errors="replace"))


def _say(message: str, code: int) -> int:
    _log(message)
    return code
