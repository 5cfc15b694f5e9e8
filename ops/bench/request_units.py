"""What events cost on Azure Cosmos DB, in request units, counted where they are charged: at the emulator.

Its charges follow Microsoft's documented figures (`ops.emulators.cosmos.charges`): they compare designs, and
tell what kind of bill to expect, not its last digit.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx2
import orjson

from lightning.events import now_text
from ops.bench.plan import Result, summarise
from ops.bench.posts import CONTENT, event_id
from ops.bench.target import Target
from ops.emulators.cosmos import CosmosEmulator

#: How long nothing is posted, to see what a platform asks by itself; it asks some things each half minute.
IDLE_SECONDS: Final = 60.0

#: All that an event brings about has ended when nothing was written for so long.
QUIET_SECONDS: Final = 1.0
LIMIT_SECONDS: Final = 60.0

#: Posts of a measurement, and users who post at a time.
USERS: Final = 16

#: Earlier messages of a conversation in which another is asked.
TURNS: Final = 10

#: Requests and request units by operation.
Usage: TypeAlias = Mapping[str, tuple[float, float]]


@dataclass(slots=True)
class Meter:
    """Measures a platform on an emulated account.

    Parameters:
      http: Asks the ingress.
      control: Asks the emulator what it has charged.
      tokens: An access token of each user, by ``userID``.
    """

    http: httpx2.AsyncClient
    control: httpx2.AsyncClient
    tokens: Mapping[str, str]
    idle: Usage = field(default_factory=dict[str, tuple[float, float]])

    async def rest(self) -> Result:
        """Measure a minute in which nobody posts; what it costs is taken off what events cost."""
        began, before = time.perf_counter(), await self._usage()
        await asyncio.sleep(IDLE_SECONDS)
        seconds = time.perf_counter() - began
        self.idle = _scaled(_difference(await self._usage(), before), 1 / seconds)
        return _result([seconds], seconds, _scaled(self.idle, 60))

    async def events(self, kind: str, posts: Sequence[str], *, conversation: str | None = None) -> Result:
        """Measure what events cost with all that they bring about.

        Parameters:
          kind: Their type.
          posts: Who posts each; all are posted at once.
          conversation: Of chats, the conversation of each user in which they are said.
        """
        began, before = time.perf_counter(), await self._usage()
        times = await asyncio.gather(*(self._post(kind, user, conversation) for user in posts))
        after = await self._quiet()
        seconds = time.perf_counter() - began
        anyway = _scaled(self.idle, -seconds)
        return _result(times, seconds, _scaled(_sum(_difference(after, before), anyway), 1 / len(posts)))

    async def looks(self, user: str, event: str, count: int) -> Result:
        """Measure what it costs to look at an event."""
        began, before = time.perf_counter(), await self._usage()
        headers = self._headers(user)
        times: list[float] = []
        for _ in range(count):
            sent = time.perf_counter()
            (await self.http.get(f"/api/events/{event}", headers=headers)).raise_for_status()
            times.append(time.perf_counter() - sent)
        seconds = time.perf_counter() - began
        anyway = _scaled(self.idle, -seconds)
        used = _sum(_difference(await self._usage(), before), anyway)
        return _result(times, seconds, _scaled(used, 1 / count))

    async def post(self, kind: str, user: str, conversation: str | None = None) -> str:
        """Post an event; give its id."""
        metadata = {"content": CONTENT} | ({} if conversation is None else {"conversationID": conversation})
        event = {
            "timestamp": now_text(),
            "source": "lightning.bench",
            "type": kind,
            "userID": user,
            "metadata": metadata,
        }
        headers = {"content-type": "application/json", **self._headers(user)}
        answer = await self.http.post("/api/events", content=orjson.dumps(event), headers=headers)
        return event_id(answer.status_code, answer.content)

    async def _post(self, kind: str, user: str, conversation: str | None) -> float:
        sent = time.perf_counter()
        await self.post(kind, user, conversation)
        return time.perf_counter() - sent

    def _headers(self, user: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[user]}"}

    async def _quiet(self) -> Usage:
        """Wait until nothing is written any more."""
        async with asyncio.timeout(LIMIT_SECONDS):
            found = await self._usage()
            while True:
                await asyncio.sleep(QUIET_SECONDS)
                before, found = found, await self._usage()
                if before.get("batch") == found.get("batch"):
                    return found

    async def _usage(self) -> Usage:
        used: dict[str, dict[str, Any]] = (await self.control.get("/usage")).json()
        return {name: (each["count"], each["charge"]) for name, each in used.items()}


def request_units(*, whole: bool) -> dict[str, Result]:
    """Measure what is asked of an account of its own.

    Parameters:
      whole: By a platform; else by an ingress alone.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        CosmosEmulator(ranges=3, control_port=0) as emulator,
    ):
        environment = {
            "LIGHTNING_LOG_LEVEL": "warning",
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": emulator.connection_string,
        }
        with Target(Path(folder), users=USERS, environment=environment, whole=whole) as target:
            return asyncio.run(_measure(target, emulator.control_url, whole=whole))


async def _measure(target: Target, control_url: str, *, whole: bool) -> dict[str, Result]:
    # let go long before uvicorn closes them, which could be just as one is used
    limits = httpx2.Limits(max_connections=USERS, keepalive_expiry=1.0)
    async with (
        httpx2.AsyncClient(base_url=target.url, trust_env=False, timeout=30, limits=limits) as http,
        httpx2.AsyncClient(base_url=control_url, trust_env=False) as control,
    ):
        meter = Meter(http, control, target.tokens)
        users = list(target.tokens)
        for user in users:  # the ingress remembers for a while who they are
            await meter.post("user.message", user)
        return await (_whole if whole else _ingress)(meter, users)


async def _ingress(meter: Meter, users: list[str]) -> dict[str, Result]:
    await meter.events("user.message", users)
    return {
        "RU, accepted, users apart": await meter.events("user.message", users),
        "RU, accepted, one user": await meter.events("user.message", users[:1] * USERS),
    }


async def _whole(meter: Meter, users: list[str]) -> dict[str, Result]:
    await meter.events("user.message", users)
    results = {"RU, a minute in which nobody posts": await meter.rest()}
    for kind in ("user.message", "llm.chat"):
        results[f"RU, {kind} to done, users apart"] = await meter.events(kind, users)
        results[f"RU, {kind} to done, one user"] = await meter.events(kind, users[:1] * USERS)
    few = users[:4]
    await meter.events("llm.chat", list(itertools.chain(*[few] * TURNS)), conversation="c")
    results[f"RU, llm.chat behind {TURNS} others"] = await meter.events("llm.chat", few, conversation="c")
    event = await meter.post("user.message", users[0])
    await meter.events("user.message", users[:1])
    results["RU, a look at an event"] = await meter.looks(users[0], event, USERS)
    return results


def _difference(after: Usage, before: Usage) -> Usage:
    return _sum(after, _scaled(before, -1))


def _sum(first: Usage, second: Usage) -> Usage:
    nothing = (0.0, 0.0)
    return {
        name: (
            first.get(name, nothing)[0] + second.get(name, nothing)[0],
            first.get(name, nothing)[1] + second.get(name, nothing)[1],
        )
        for name in first.keys() | second.keys()
    }


def _scaled(usage: Usage, by: float) -> Usage:
    return {name: (count * by, units * by) for name, (count, units) in usage.items()}


def _result(times: Sequence[float], seconds: float, used: Usage) -> Result:
    """Make a result; requests and request units of each operation are among its figures."""
    figures = {"request units": sum(units for _, units in used.values())}
    for name, (count, units) in sorted(used.items()):
        if count > 0.05:
            figures |= {f"{name} requests": count, f"{name} units": units}
    result = summarise(times, seconds, {})
    result.figures.update(figures)
    return result
