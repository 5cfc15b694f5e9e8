"""What went on behind the answers of a conversation and is over, as the log tells it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from chainlit.step import StepDict

from api.chat import shown
from lightning.client import Approval, AsyncClient, Event, RunWithReport

#: So many turns are looked at, the newest; the pages of the ingress have the others.
TURNS: Final = 20

#: Of one turn at most; a page of the API has no more either.
EVENTS: Final = 200


async def behind(client: AsyncClient, said: Sequence[Event], thread: str) -> list[StepDict]:
    """Give the runs as they ended, what they had asked, and what was decided.

    Parameters:
      client: Who looks.
      said: The messages of a conversation, the oldest first.
      thread: The conversation.
    """
    waited = (event["root"] for event in reversed(said) if event["metadata"].get("waitsFor"))
    turns = await asyncio.gather(*(_turn(client, root) for root in list(dict.fromkeys(waited))[:TURNS]))
    events = [event for turn in turns for event in turn]
    decided = await _decided(client, events)
    return [
        *_runs(events, thread),
        *await _questions(client, events, thread),
        *(shown.approval_step(each, thread) for each in decided),
    ]


def _runs(events: Sequence[Event], thread: str) -> list[StepDict]:
    tasks = {event["id"]: event for event in events if event["type"] == "worker.task"}
    ended = [event for event in events if event["type"] == "worker.task.result" and event["cause"] in tasks]
    return [shown.run_step(tasks[each["cause"] or ""], each, thread) for each in ended]


async def _decided(client: AsyncClient, events: Sequence[Event]) -> list[Approval]:
    asked = (each["metadata"]["approvalID"] for each in events if each["type"] == "approval.requested")
    found = await asyncio.gather(*(client.approval(each) for each in asked), return_exceptions=True)
    return [each for each in found if not isinstance(each, BaseException) and each["state"] != "pending"]


async def _turn(client: AsyncClient, root: str) -> list[Event]:
    events, after = list[Event](), 0
    while len(events) < EVENTS:
        page = await client.events(root=root, after=after, limit=EVENTS)
        events += page["events"]
        if page["next"] is None:
            break
        after = page["next"]
    return events


async def _questions(client: AsyncClient, events: Sequence[Event], thread: str) -> list[StepDict]:
    asked = {
        event["metadata"]["questionID"]: event["metadata"]["runID"]
        for event in events
        if event["type"] == "user.message" and event["metadata"].get("questionID")
    }
    return [
        shown.question_step(run, question, thread)
        for run in await _reports(client, dict.fromkeys(asked.values()))
        for question in run["questions"]
        if question["id"] in asked
    ]


async def _reports(client: AsyncClient, runs: Iterable[str]) -> list[RunWithReport]:
    """Read what runs have said; one that has expired is left out."""
    found = await asyncio.gather(*(client.run(each) for each in runs), return_exceptions=True)
    return [each for each in found if not isinstance(each, BaseException)]
