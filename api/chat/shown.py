"""What the log says, in the form in which Chainlit shows it."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from chainlit.element import ElementDict
from chainlit.step import StepDict

from api.chat import visit
from lightning.client import Approval, Event, RunQuestion, RunWithReport

#: Where files of repositories are, below the page.
FILES: Final = "files"

ASSISTANT: Final = "Lightning"

#: An avatar is asked for by name, and that of a step with other signs than letters is no name to Chainlit.
AVATAR: Final = {"avatarName": ASSISTANT}

#: What is shown of what a run prints; all of it is in its log.
SHOWN_CHARS: Final = 16_384

_FENCE: Final = "```"

_GOING: Final = frozenset({"waiting", "starting", "running"})


def step_of(event: Event, thread: str) -> StepDict:
    """Show an `llm.chat` or its response."""
    said = event["metadata"]
    if event["type"] == "llm.chat":
        return _step(event["id"], thread, event["recordedAt"], "user_message", "You", said.get("content", ""))
    problem = said.get("error")
    text = problem["message"] if problem else said.get("content", "")
    shown = _step(
        event["id"], thread, event["recordedAt"], "assistant_message", ASSISTANT, answer(text, event["root"])
    )
    return {**shown, "isError": problem is not None}


def run_step(task: Event, result: Event, thread: str) -> StepDict:
    """Show a run that is over."""
    said = result["metadata"]
    shown = _step(
        task["id"], thread, task["recordedAt"], "tool", run_name(task, said["status"]), run_output(result)
    )
    return {
        **shown,
        "end": result["recordedAt"],
        "isError": said["status"] != "succeeded",
        "language": "text",
        "defaultOpen": True,
        "metadata": AVATAR,
    }


def run_name(task: Event, state: str) -> str:
    """Name the step of a run, with where it stands."""
    asked = task["metadata"]
    return f"{asked.get('name') or asked.get('agent') or asked.get('image') or 'run'}: {state}"


def run_output(result: Event) -> str:
    """Give the end of what a run has printed, and how it ended."""
    said = result["metadata"]
    lines = [str(said.get("output") or "")[-SHOWN_CHARS:].rstrip(), said["message"]]
    return "\n".join(line for line in lines if line)


def question_step(run: RunWithReport, question: RunQuestion, thread: str) -> StepDict:
    """Show what a run has asked."""
    text = question_text(run, question)
    return _step(question["id"], thread, question["at"], "assistant_message", ASSISTANT, text)


def question_text(run: RunWithReport, question: RunQuestion) -> str:
    """Say what a run asks, and what was answered."""
    head = f"**`{run['agent'] or run['image'] or 'run'}` asks:**"
    return f"{head} {question['question']}\n\n{_answered(run, question)}"


def is_open(run: RunWithReport, question: RunQuestion) -> bool:
    """Tell whether a question of a run can be answered, and was not."""
    return run["status"] in _GOING and not _answers(run, question)


def approval_step(approval: Approval, thread: str) -> StepDict:
    """Show what a model wants to do."""
    return _step(
        approval["id"], thread, approval["createdAt"], "assistant_message", ASSISTANT, approval_text(approval)
    )


def answer(content: str, root: str) -> str:
    """Give the text of an answer, with the link to its trace."""
    if content.count(_FENCE) % 2:
        content += f"\n{_FENCE}"  # else the link would be part of the code
    return f"{content}\n\n{trace_link(root)}"


def trace_link(root: str) -> str:
    """Give the link to the page that shows an event with its trace."""
    return f"[Trace]({visit.event_page(root)})"


def approval_text(approval: Approval) -> str:
    """Say exactly what is to be approved: no line of JSON can end the block, or look like another."""
    exact = json.dumps({"arguments": approval["arguments"], "scope": approval["scope"]}, indent=2)
    head = f"**Approval: `{approval['tool']}`**"
    state = f"Undecided, it is refused at {approval['expiresAt']}."
    if approval["state"] != "pending":
        state = f"It is {approval['state']}."
    return f"{head}\n\n{_FENCE}json\n{exact}\n{_FENCE}\n\n{state}"


def file_elements(
    thread: str, for_id: str, repo: str, commit: str, paths: Iterable[str]
) -> list[ElementDict]:
    """Show files of a commit, for download."""
    return [
        ElementDict(
            id=f"{for_id}-{commit[:12]}-{number}",
            threadId=thread,
            forId=for_id,
            type="file",
            name=path.rpartition("/")[2],
            display="inline",
            url=f"/chat/{FILES}/{quote(repo, safe='')}/{commit}/{quote(path)}",
            mime="application/octet-stream",
        )
        for number, path in enumerate(paths)
    ]


def _answers(run: RunWithReport, question: RunQuestion) -> list[str]:
    return [each["content"] for each in run["messages"] if each["questionID"] == question["id"]]


def _answered(run: RunWithReport, question: RunQuestion) -> str:
    if answers := _answers(run, question):
        return f"Answered: {answers[-1]}"
    return "It goes on, and may wait for the answer." if is_open(run, question) else "Nobody has answered."


def _step(id: str, thread: str, at: str, type: Any, name: str, output: str) -> StepDict:
    return StepDict(
        id=id,
        threadId=thread,
        parentId=None,
        createdAt=at,
        start=at,
        end=at,
        type=type,
        name=name,
        input="",
        output=output,
        streaming=False,
        isError=False,
        metadata={},
    )
