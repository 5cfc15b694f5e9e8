"""What the log says, in the form in which Chainlit shows it."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from chainlit.element import ElementDict
from chainlit.step import StepDict

from api.chat import visit
from lightning.client import Approval, Event

#: Where files of repositories are, below the page.
FILES: Final = "files"

ASSISTANT: Final = "Lightning"

_FENCE: Final = "```"


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
