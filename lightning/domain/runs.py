"""Runs: what became of each task in its container, and what it printed.

A run is one document in its user's partition, under an id that follows from its task. It is written before
its container is started, and its outcome before the container is removed, so that whoever goes on after a
crash starts nothing twice. The log stands beside it (`lightning.domain.run_log`).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from lightning.domain import run_log
from lightning.domain.run_log import LogPlace
from lightning.errors import Conflict
from lightning.events import EventDocument, now_text
from lightning.ids import run_id
from lightning.storage import Create, Operation, Replace, Storage, Stored, Where
from lightning.tasks import Status

CONTAINER: Final = "events"
KIND: Final = "run"

#: Before a run is over: its task waits for room, its container is being made, its command runs.
Stage = Literal["waiting", "starting", "running"]


class Outcome(TypedDict):
    """How a run ended."""

    status: Status
    message: str
    exitCode: int | None
    error: NotRequired[dict[str, str]]


class Workspace(TypedDict):
    """The repository that a run works on.

    ``base`` is the commit that it begins from; ``commit`` what it made of that, None for nothing, and missing
    before it was over.
    """

    repo: str
    base: str
    commit: NotRequired[str | None]


class RunDocument(TypedDict):
    """A run as it stands in the store.

    ``seq`` is that of its task. ``begun``: its container was started, and is not started again;
    ``askedAt`` says when it was asked for. ``state`` is
    that of events (a store lets documents expire by it); ``log`` says where the log has got to. ``resets``
    counts how often it was let be started anew.
    """

    id: str
    userID: str
    kind: Literal["run"]
    state: Literal["accepted", "done"]
    seq: int
    eventID: str
    agent: str | None
    image: str | None
    command: list[str] | None
    createdAt: str
    stage: Stage
    begun: bool
    startedAt: float | None
    endedAt: float | None
    log: LogPlace
    outcome: Outcome | None
    resets: NotRequired[int]
    askedAt: NotRequired[float]
    workspace: NotRequired[Workspace]


@dataclass(frozen=True, slots=True)
class Run:
    """A run in one version of its document; ``added`` is what this version has brought to its log."""

    document: RunDocument
    etag: str
    added: str = ""

    @property
    def name(self) -> str:
        """The name of its container."""
        return container_name(self.document["id"])


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of runs, and the token that asks for the next one."""

    runs: list[RunDocument]
    next: str | None


def container_name(run: str) -> str:
    """Give the name of the container of a run."""
    return f"run-{run}"


class Runs:
    """Every user's runs.

    Parameters:
      storage: Where they stand, beside the events.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def open(self, event: EventDocument) -> Run:
        """Read the run of a task, which is made when nobody has made it yet."""
        while True:
            found = await self.of_task(event["userID"], event["id"])
            if found is not None:
                return found
            document = _new(event)
            try:
                [etag] = await self._storage.batch(CONTAINER, event["userID"], [Create(_body(document))])
            except Conflict:
                continue  # another was faster
            return Run(document, etag)

    async def of_task(self, user_id: str, event_id: str) -> Run | None:
        """Read the run of a task."""
        stored = await self._storage.get(CONTAINER, user_id, run_id(event_id))
        return None if stored is None else Run(_as_run(stored), stored.etag)

    async def find(self, user_id: str, run: str) -> RunDocument | None:
        """Read a run by its own id."""
        stored = await self._storage.get(CONTAINER, user_id, run)
        return _as_run(stored) if stored is not None and stored.body["kind"] == KIND else None

    async def current(self, user_id: str, run: str) -> RunDocument | None:
        """Read a run as a write would meet it; `find` may miss what another process has just written."""
        found: list[Stored] = []

        def look(stored: Stored | None) -> list[Operation]:
            found[:] = [] if stored is None else [stored]
            return []

        await self._storage.batch_on(CONTAINER, user_id, run, look)
        return _as_run(found[0]) if found and found[0].body["kind"] == KIND else None

    async def newest(self, user_id: str | None, *, limit: int, page: str | None = None) -> RunPage:
        """List a user's runs, that of the latest task first.

        Parameters:
          user_id: Whose; None is everybody's, the one that was made last first.
          limit: At most so many.
          page: Where the page before ended.

        Raises:
          ValueError: The page token is not one of ours.
        """
        where, order = [Where("kind", "=", KIND)], "createdAt" if user_id is None else "seq"
        found = await self._storage.query(
            CONTAINER, user_id, where, order_by=order, descending=True, limit=limit, page=page
        )
        return RunPage([_as_run(stored) for stored in found.items], found.next)

    async def advance(
        self,
        run: Run,
        *,
        stage: Stage,
        begun: bool,
        started_at: float | None = None,
        ended_at: float | None = None,
        asked_at: float | None = None,
    ) -> Run:
        """Note where a run stands; nothing is written where nothing is new.

        Parameters:
          run: The run.
          stage: Where it stands.
          begun: Whether its container was started.
          started_at: When its command began.
          ended_at: When that ended.
          asked_at: When its container was asked for.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        known = run.document
        changed: RunDocument = {
            **known,
            "stage": stage,
            "begun": begun,
            "startedAt": started_at or known["startedAt"],
            "endedAt": ended_at or known["endedAt"],
        }
        if asked_at is not None:
            changed["askedAt"] = asked_at
        return run if changed == known else await self._write(changed, run.etag)

    async def conclude(self, run: Run, outcome: Outcome) -> Run:
        """Note how a run ended; the first to say it has said it.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        if run.document["outcome"] is not None:
            return run
        return await self._write({**run.document, "outcome": outcome, "state": "done"}, run.etag)

    async def begin_from(self, run: Run, repository: str, base: str) -> Run:
        """Note which commit of a repository a run begins from; the first to say it has said it.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        if "workspace" in run.document:
            return run
        workspace: Workspace = {"repo": repository, "base": base}
        return await self._write({**run.document, "workspace": workspace}, run.etag)

    async def settle(self, run: Run, workspace: Workspace, commit: str | None) -> Run:
        """Note what a run that is over has committed.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        settled: Workspace = {**workspace, "commit": commit}
        return await self._write({**run.document, "workspace": settled}, run.etag)

    async def reset(self, run: Run) -> Run:
        """Let a run whose container is gone be started anew, when somebody replays its task; its log stays.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        log: LogPlace = {**run.document["log"], "bytes": 0}
        changed: RunDocument = {
            **run.document,
            "stage": "waiting",
            "begun": False,
            "state": "done",
            "log": log,
        }
        if run.document["begun"]:
            changed["resets"] = run.document.get("resets", 0) + 1
        return run if changed == run.document else await self._write(changed, run.etag)

    async def append(self, run: Run, data: bytes, upto: int, *, last: bool = False) -> Run:
        """Add to a run's log what its container printed, once.

        Parameters:
          run: The run.
          data: The bytes that the runner gave.
          upto: The offset at which the runner goes on.
          last: Whether nothing comes behind them; else a character that is cut off is left for the next time.

        Raises:
          PreconditionFailed: Somebody else has noted something meanwhile.
        """
        text, place = run_log.read(run.document["log"], data, upto, last=last)
        if place == run.document["log"]:
            return run
        changed: RunDocument = {**run.document, "log": place}
        writes, place = await run_log.written(self._storage, changed["userID"], changed["id"], place, text)
        changed["log"] = place
        # the run first: somebody else's note is what is told, not the part of the log that it brought
        operations = [Replace(_body(changed), run.etag), *writes]
        etags = await self._storage.batch(CONTAINER, changed["userID"], operations)
        return Run(changed, etags[0], text)

    async def log(self, run: RunDocument, offset: int, limit: int) -> str:
        """Read a run's log.

        Parameters:
          run: The run.
          offset: Characters before the first one wanted.
          limit: Characters at most.
        """
        return await run_log.text(self._storage, run["userID"], run["id"], run["log"], offset, limit)

    async def _write(self, document: RunDocument, etag: str) -> Run:
        [etag] = await self._storage.batch(CONTAINER, document["userID"], [Replace(_body(document), etag)])
        return Run(document, etag)


def _new(event: EventDocument) -> RunDocument:
    asked = event["metadata"]
    return {
        "id": run_id(event["id"]),
        "userID": event["userID"],
        "kind": KIND,
        "state": "accepted",
        "seq": event["seq"],
        "eventID": event["id"],
        "agent": asked.get("agent"),
        "image": asked.get("image"),
        "command": asked.get("command"),
        "createdAt": now_text(),
        "stage": "waiting",
        "begun": False,
        "startedAt": None,
        "endedAt": None,
        "log": run_log.EMPTY,
        "outcome": None,
    }


def _as_run(stored: Stored) -> RunDocument:
    return cast("RunDocument", stored.body)


def _body(document: RunDocument) -> dict[str, Any]:
    return cast("dict[str, Any]", document)
