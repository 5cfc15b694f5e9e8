"""One step of the platform as the job of an actor, and the log that such steps work on."""

import asyncio
import base64
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from actors.chat_answers import ChatAnswers
from actors.messenger import Messenger
from actors.step import Step
from actors.task_joins import TaskJoins
from lightning.domain.turns import Turns
from lightning.domain.webhooks import Webhooks
from lightning.events import Draft, now_text
from lightning.live import Notifier
from lightning.log import Dispatch, EventLog
from lightning.outbound import Guard
from lightning.queue import Wakeup
from lightning.storage import SqliteStorage
from ops.bench.brokers.loop import LoopThread
from ops.bench.brokers.sightings import Sightings

#: The events are spread over so many users: those of one user are written one after the other.
USERS = 16

#: Events that are recorded in one write.
_TOGETHER = 50


class RealStep:
    """One step of the platform: claim the event of the message, run the messenger, commit; then a note."""

    def __init__(self, sightings: Sightings, path: Path) -> None:
        self._sightings = sightings
        self._loop = LoopThread()
        self._storage = SqliteStorage(path)
        log = EventLog(self._storage)
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self._notifier = Notifier(None, secret)
        dispatch = Dispatch(log, _NoQueue())
        webhooks = Webhooks(self._storage, Guard.allowing(""))
        joins, answers = TaskJoins(log, dispatch), ChatAnswers(Turns(self._storage))
        messenger = Messenger(self._notifier, webhooks, joins, answers)
        owner = f"bench-{os.getpid()}"
        self._step = Step(log, dispatch, {"messenger": messenger}, owner=owner)

    def run(self, number: int) -> None:
        """Do it on the process's event loop and wait, as the platform's worker does."""
        self._loop.run(self.run_async(number))

    async def run_async(self, number: int) -> None:
        """Do it on the caller's event loop."""
        user, event = address(number)
        await self._step.run(Wakeup(user, event, wake=0, actor="messenger", sent_at=time.time()))
        self._sightings.note(number)

    def close(self) -> None:
        """Close the log."""
        self._loop.run(self._notifier.close())
        self._loop.run(self._storage.close())
        self._loop.close()


class _NoQueue:
    """The queue of steps that nothing follows from."""

    async def send(self, wakeups: Sequence[Wakeup]) -> None:
        """Refuse."""
        raise NotImplementedError(f"{len(wakeups)} messages follow from a step that nothing follows from")

    async def oldest_age_seconds(self, actor: str | None = None, *, bulk: bool = False) -> float | None:
        """Nothing waits."""
        return None

    async def depth(self) -> int:
        """Nothing is there."""
        return 0

    async def check(self) -> None:
        """Nothing fails."""

    async def close(self) -> None:
        """Do nothing."""


def address(number: int) -> tuple[str, str]:
    """Give the user and the id of the event of a message."""
    return f"bench-{number % USERS}", f"event-{number}"


def record(path: Path, numbers: Sequence[int]) -> None:
    """Record the events of messages, ready to be worked on, in a new log."""
    asyncio.run(_record(path, numbers))


def done(path: Path, numbers: Iterable[int]) -> int:
    """Count how many events of these messages are done."""
    return asyncio.run(_done(path, numbers))


async def _record(path: Path, numbers: Sequence[int]) -> None:
    storage = SqliteStorage(path)
    log = EventLog(storage)
    for place in range(USERS):
        own = numbers[place::USERS]
        for start in range(0, len(own), _TOGETHER):
            drafts = [_draft(number) for number in own[start : start + _TOGETHER]]
            await log.append(address(own[0])[0], drafts)
    await storage.close()


async def _done(path: Path, numbers: Iterable[int]) -> int:
    storage = SqliteStorage(path)
    log = EventLog(storage)
    events = [await log.get(*address(number)) for number in numbers]
    await storage.close()
    return sum(event is not None and event["state"] == "done" for event in events)


def _draft(number: int) -> Draft:
    return Draft(
        id=address(number)[1],
        type="user.message",
        source="lightning.bench",
        metadata={"content": "The quick brown fox jumps over the lazy dog"},
        timestamp=now_text(),
        trace={},
    )
