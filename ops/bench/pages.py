"""How soon the lists of the dashboard begin to come from a store with many events."""

import asyncio
import math
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final, cast

import httpx2

from lightning.domain.accounts import Accounts
from lightning.events import Draft, now_text
from lightning.ids import account_id
from lightning.log import documents
from lightning.log.head import HEAD
from lightning.settings import Settings
from lightning.storage import CONTAINERS, Create, Storage, open_storage
from ops.bench.plan import Result, summarise
from ops.chaos.installation import BCRYPT_ROUNDS, PASSWORD, Installation

#: Half of the events are the operator's own, the others those of so many users.
USERS: Final = 500

#: Of so many events one is dead.
ONE_DEAD_OF: Final = 1000

#: How often each page is asked for.
TIMES: Final = 100

#: The pages, by what they are.
PAGES: Final = {
    "own events": "/events",
    "own events by type and state": "/events?type=user.message&state=dead",
    "own events since a moment": "/events?since=2026-01-01T12:00",
    "events of all users": "/all/events",
    "events of all users, a page further": "/all/events?until=2026-01-03T00:00",
    "dead letters of all users": "/all/dead",
    "overview of all users": "/all/",
}

_NAME: Final = "looks"


def pages(events: int, *, times: int = TIMES) -> dict[str, Result]:
    """Measure the first byte of each list, with so many events stored on SQLite.

    Parameters:
      events: How many are stored.
      times: How often each page is asked for.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        storage = open_storage(Settings.load({"LIGHTNING_DATA": str(data)}))
        with asyncio.Runner() as runner:
            runner.run(_begin(storage, events))
            runner.run(storage.close())
        _multiply(data / "log.db", events)
        with Installation(data, {"LIGHTNING_LOG_LEVEL": "error"}, workers=0, clock=False) as running:
            return _measure(running.url, events, times)


def _user(number: int) -> str:
    return f"user-{number}"


def _owner(number: int) -> str:
    return account_id(_user(number))


async def _begin(storage: Storage, events: int) -> None:
    """Make the accounts, and the first of the events with the head of its log."""
    accounts = Accounts(storage, rounds=BCRYPT_ROUNDS, max_waiting=USERS)
    account = await accounts.register(_NAME, PASSWORD, role="operator")
    await asyncio.gather(*(accounts.register(_user(number), PASSWORD) for number in range(USERS)))
    draft = Draft("event-1", "user.message", "bench", {"content": "What is new? " * 8}, now_text(), {})
    event = documents.new_event(draft, account.id, 1, now=time.time(), sweep_at=0.0)
    done = cast("dict[str, object]", documents.ended(event, "done", [], None))
    own = events // 2
    counts = {"done": own - own // ONE_DEAD_OF, "dead": own // ONE_DEAD_OF}
    head = {"id": HEAD, "userID": account.id, "kind": "head", "seq": own, "counts": counts}
    await storage.batch("events", account.id, [Create(done), Create(head)])


def _multiply(file: Path, number: int) -> None:
    """Make so many of the one event that stands in a file; through the log a million takes long."""
    fields = CONTAINERS["events"].fields
    columns = ", ".join(fields)
    values = ", ".join(f"json_extract(body, '$.{field}')" for field in fields)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.create_function("account_id", 1, _owner)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            f"""
            INSERT INTO events (userID, id, etag, {columns}, body)
            WITH RECURSIVE
              counted(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM counted WHERE n < :number),
              one AS (SELECT CAST(body AS TEXT) AS body FROM events WHERE id = 'event-1'),
              placed AS (
                SELECT n, printf('event-%08d', n) AS id, n % :dead = 0 AS died,
                  CASE WHEN n <= :number / 2 THEN :own ELSE account_id(n % :users) END AS user,
                  strftime('%Y-%m-%dT%H:%M:%S.000Z', 1767225600 + n * 86400 * 7 / :number, 'unixepoch') AS at
                FROM counted
              ),
              made AS (
                SELECT user, id, json_patch(body, json_object(
                  'id', id, 'userID', user, 'root', id, 'seq', n, 'recordedAt', at,
                  'state', iif(died, 'dead', 'done'), 'deadAt', iif(died, at, NULL)
                )) AS body FROM one, placed
              )
            SELECT user, id, '', {values}, CAST(body AS BLOB) FROM made
            """,  # noqa: S608 -- names of our fields
            {"number": number, "own": account_id(_NAME), "users": USERS, "dead": ONE_DEAD_OF},
        )


def _measure(url: str, events: int, times: int) -> dict[str, Result]:
    results: dict[str, Result] = {}
    with httpx2.Client(base_url=f"{url}/dashboard", trust_env=False, timeout=60) as http:
        answer = http.post("/login", data={"username": _NAME, "password": PASSWORD})
        if "location" not in answer.headers:
            raise RuntimeError(f"the operator cannot log in: {answer.status_code}")
        for what, path in PAGES.items():
            began = time.monotonic()
            taken = sorted(_first_byte(http, path) for _ in range(times))
            result = summarise(taken, time.monotonic() - began, {})
            result.figures["p95 of the first byte, ms"] = taken[math.ceil(times * 0.95) - 1] * 1000
            result.figures["stored"] = events
            results[what] = result
    return results


def _first_byte(http: httpx2.Client, path: str) -> float:
    began = time.monotonic()
    with http.stream("GET", path) as answer:
        answer.raise_for_status()
        body = answer.iter_bytes(1)
        next(body)
        took = time.monotonic() - began
        for _ in body:
            pass
    return took
