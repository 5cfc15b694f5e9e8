"""What was said in a conversation, as the log and the repository tell it."""

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from chainlit.element import ElementDict
from chainlit.step import StepDict

from api.chat import files, shown
from api.chat.behind import behind
from lightning.client import AsyncClient, ClientError, Conversation, Event

#: What is shown of a conversation at most, the newest.
MESSAGES: Final = 200


async def history(
    client: AsyncClient, conversation: Conversation
) -> tuple[list[StepDict], list[ElementDict]]:
    """Give the messages of a conversation with files, runs and decisions, and what waits for its user."""
    thread = conversation["id"]
    messages, pending = await asyncio.gather(
        client.messages(thread, limit=MESSAGES), client.approvals(pending=1, limit=MESSAGES)
    )
    said = list(reversed(messages["messages"]))
    steps = [shown.step_of(event, thread) for event in said if not empty(event)]
    steps += [
        shown.approval_step(each, thread) for each in pending["approvals"] if each["conversationID"] == thread
    ]
    steps += await behind(client, said, thread)
    steps.sort(key=itemgetter("createdAt"))
    return steps, await _files(client, conversation, said)


def empty(event: Event) -> bool:
    """Tell whether a response holds no text: its turn waits, and the model has said nothing."""
    said = event["metadata"]
    return event["type"] != "llm.chat" and not said.get("content") and not said.get("error")


def unfinished(said: Sequence[Event], waiting: Sequence[str]) -> list[Event]:
    """Give those turns of a conversation whose last answer is yet to come, each by its `llm.chat`.

    Parameters:
      said: The messages, the newest first.
      waiting: Ids of those that have no answer yet.
    """
    latest = {event["root"]: event for event in reversed(said) if event["type"] != "llm.chat"}
    open_ = {root for root, event in latest.items() if event["metadata"].get("waitsFor")}
    return [
        event
        for event in said
        if event["type"] == "llm.chat"
        and "cancelledAt" not in event
        and (event["id"] in waiting or event["root"] in open_)
    ]


async def _files(client: AsyncClient, conversation: Conversation, said: list[Event]) -> list[ElementDict]:
    if conversation["repo"] is None:
        return []
    answers = {event["root"]: event["id"] for event in said if not empty(event)}
    try:
        commits = (await client.repository_log(conversation["repo"], limit=files.COMMITS))["commits"]
    except ClientError:  # the repository is gone, or elsewhere; what was said is there all the same
        return []
    causes = [each for each in commits if each["eventID"] is not None]
    found = await asyncio.gather(
        *(client.event(each["eventID"] or "") for each in causes), return_exceptions=True
    )
    elements: list[ElementDict] = []
    for commit, event in zip(causes, found, strict=True):
        if not isinstance(event, BaseException) and event["root"] in answers:
            elements += await files.changed(
                client, conversation["id"], answers[event["root"]], conversation["repo"], commit["id"]
            )
    return elements
