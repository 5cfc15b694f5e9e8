"""Questions of runs as messages, answered by a button, or by what is written next."""

from typing import Any, Final

import chainlit as cl

from api.chat import shown, visit
from lightning.client import RunQuestion, RunWithReport

#: The names of the buttons' actions: this is the answer, and what is written next is.
ANSWER: Final = "answer"
WRITE: Final = "write"


class Asked:
    """The questions of a turn's runs that nobody had answered when the page was shown last."""

    def __init__(self) -> None:
        self._open: set[tuple[str, str]] = set()

    async def show(self, run_id: str, question_id: str) -> None:
        """Show a question as it stands by now."""
        run = await visit.client().run(run_id)
        question = _find(run, question_id)
        is_open = shown.is_open(run, question)
        actions = _actions(run, question) if is_open else []
        await cl.Message(
            shown.question_text(run, question), author=shown.ASSISTANT, id=question_id, actions=actions
        ).send()
        if is_open:
            self._open.add((run_id, question_id))

    async def settle(self) -> None:
        """Show what was answered elsewhere, or will not be any more."""
        for run_id, question_id in list(self._open):
            if await _settle(run_id, question_id):
                self._open.discard((run_id, question_id))


async def answer(run_id: str, question_id: str, content: str) -> None:
    """Tell a run what it has asked.

    Raises:
      ClientError: The run is over, or takes no such answer.
    """
    await visit.client().tell_run(run_id, content, question_id=question_id)
    await _settle(run_id, question_id)


async def _settle(run_id: str, question_id: str) -> bool:
    """Take the buttons away, unless the question waits for its answer still."""
    run = await visit.client().run(run_id)
    question = _find(run, question_id)
    if shown.is_open(run, question):
        return False
    await cl.Message(shown.question_text(run, question), author=shown.ASSISTANT, id=question_id).update()
    for action in _actions(run, question):
        await action.remove()
    return True


def _find(run: RunWithReport, question_id: str) -> RunQuestion:
    return next(each for each in run["questions"] if each["id"] == question_id)


def _actions(run: RunWithReport, question: RunQuestion) -> list[cl.Action]:
    asked = {"run": run["id"], "question": question["id"]}
    choices = [
        _action(question, f"choice-{number}", ANSWER, option, {**asked, "content": option})
        for number, option in enumerate(question["options"])
    ]
    return [*choices, _action(question, "write", WRITE, "Write an answer", asked)]


def _action(question: RunQuestion, part: str, name: str, label: str, payload: dict[str, Any]) -> cl.Action:
    return cl.Action(
        id=f"{part}-{question['id']}", forId=question["id"], name=name, label=label, payload=payload
    )
