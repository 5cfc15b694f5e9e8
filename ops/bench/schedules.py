"""What schedules do: how late they fire when many are due, and what the clock costs while nothing is."""

import asyncio
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from lightning.domain.schedule import Schedule, Scheduled, to_document
from lightning.domain.schedules import CONTAINER
from lightning.domain.when import Policies, When
from lightning.ids import new_id
from lightning.log import EventLog
from lightning.settings import Settings
from lightning.storage import Create, Storage, Where, open_storage
from ops.bench.gauge import cpu_seconds
from ops.bench.plan import Result, summarise
from ops.chaos.installation import Installation

#: Schedules that are due are those of so many users.
USERS = 500

#: What is stored is written in batches of so many, each of one user.
_TOGETHER = 90

#: Writing what is to be due ends before it is.
_AHEAD_SECONDS = 5.0

#: What the start of the processes brings about is over then.
_SETTLE_SECONDS = 3.0

_PATIENCE_SECONDS = 600.0


def schedules(
    stored: int, due: int, *, spread_seconds: float = 60.0, idle_seconds: float = 10.0
) -> dict[str, Result]:
    """Measure with so many schedules stored: what the clock costs, then so many that are due.

    Parameters:
      stored: Schedules that are not due.
      due: Schedules that are: once spread over a while, and once in the same second.
      spread_seconds: The while.
      idle_seconds: For so long the clock is watched while nothing is due.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        storage = open_storage(Settings.load({"LIGHTNING_DATA": str(data)}))
        with asyncio.Runner() as runner:
            far = datetime.now(UTC) + timedelta(days=300)
            runner.run(write_schedules(storage, [far]))
            _multiply(data / "log.db", stored)
            with Installation(data, {"LIGHTNING_LOG_LEVEL": "error"}) as running:
                share = _idle(running, idle_seconds)
                over_a_while = runner.run(_fire(storage, due, spread_seconds))
                at_once = runner.run(_fire(storage, due, 0.0))
            runner.run(storage.close())
    over_a_while.figures["% of a core, clock while idle"] = share * 100
    over_a_while.figures["stored"] = stored
    return {f"due within {spread_seconds:.0f} s": over_a_while, "due in one second": at_once}


def _idle(running: Installation, seconds: float) -> float:
    pid = running.pid("clock")
    if pid is None:
        raise typer.Exit(1)
    time.sleep(_SETTLE_SECONDS)
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def _multiply(file: Path, number: int) -> None:
    """Make so many of the one schedule that stands in a file; through the store a million takes long.

    They are written in the order of their keys, which is several times as fast.
    """
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            """
            INSERT INTO schedules (userID, id, etag, kind, dueAt, state, body)
            WITH RECURSIVE
              counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :number),
              one AS (SELECT etag, kind, dueAt, state, CAST(body AS TEXT) AS body FROM schedules LIMIT 1),
              named AS (
                SELECT n, printf('stored-%03d', n * :users / (:number + 1)) AS user, printf('s-%08d', n) AS id
                FROM counted
              )
            SELECT user, id, etag, kind, dueAt + n, state, CAST(json_set(
                body, '$.userID', user, '$.id', id, '$.dueAt', dueAt + n
            ) AS BLOB)
            FROM one, named
            """,
            {"number": number - 1, "users": USERS},
        )


async def write_schedules(storage: Storage, moments: Sequence[datetime], prefix: str = "stored") -> None:
    """Write schedules down that fire once each, those of a user together."""
    for start in range(0, len(moments), _TOGETHER * 16):
        parts = [
            moments[at : at + _TOGETHER]
            for at in range(start, min(start + _TOGETHER * 16, len(moments)), _TOGETHER)
        ]
        await asyncio.gather(
            *(
                storage.batch(CONTAINER, user, [Create(_document(user, moment)) for moment in part])
                for place, part in enumerate(parts, start // _TOGETHER)
                for user in [f"{prefix}-{place % USERS}"]
            )
        )


def _document(user: str, moment: datetime) -> dict[str, object]:
    made = Schedule(
        id=new_id(),
        user_id=user,
        event=Scheduled("user.message", "bench", {"content": str(moment.timestamp())}),
        when=When(timestamp=moment),
        said_at=datetime.now(UTC),
        policies=Policies(),
        next=moment,
    )
    return to_document(made)


async def _fire(storage: Storage, number: int, spread_seconds: float) -> Result:
    """Let schedules be due from soon on, and look what they fire until all have."""
    chance, prefix = random.Random(number), f"due-{spread_seconds:.0f}"  # noqa: S311 -- it only spreads them
    takes = _AHEAD_SECONDS + number / 2000
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=takes)
    moments = [begin + timedelta(seconds=chance.random() * spread_seconds) for _ in range(number)]
    await write_schedules(storage, moments, prefix)
    if datetime.now(UTC) > begin:
        raise typer.BadParameter("this machine does not write so many schedules in time; choose fewer --due")
    log = EventLog(storage)
    users = [f"{prefix}-{place}" for place in range(min(USERS, -(-number // _TOGETHER)))]
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while sum([await _over(log, user) for user in users]) < 2 * number:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.2)
    drained = (datetime.now(UTC) - begin).total_seconds()
    drifts, seen = await _drifts(log, users)
    result = summarise(drifts, drained, {})
    result.figures["fired more than once"] = sum(count > 1 for count in seen.values())
    return result


async def _over(log: EventLog, user: str) -> int:
    return (await log.head(user))["counts"].get("done", 0)


async def _drifts(log: EventLog, users: Sequence[str]) -> tuple[list[float], Counter[str]]:
    """Give how much later than planned each event was recorded, in seconds, and what each slot has fired."""
    drifts: list[float] = []
    seen: Counter[str] = Counter()
    for user in users:
        found = await log.events(user, [Where("type", "=", "user.message")], limit=1000)
        for event in found:
            planned = float(event["metadata"]["content"])
            drifts.append(datetime.fromisoformat(event["recordedAt"]).timestamp() - planned)
            seen[event["cause"] or event["id"]] += 1
    return drifts, seen
