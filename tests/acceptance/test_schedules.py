"""Schedules on a running platform: each slot fires once, whichever process dies where, and however often."""

import asyncio
import itertools
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from lightning.client import Client, ClientError
from lightning.domain.handover import LONGEST_REST_SECONDS
from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.schedules import Schedules
from lightning.domain.usernames import account_id_of
from lightning.domain.when import Policies, When, now_utc
from lightning.ids import new_id
from lightning.log import EventLog
from lightning.storage import Where, open_storage
from lightning.telemetry.spans import Span, SpanStore
from ops.bench.schedules import USERS, write_schedules
from ops.chaos.installation import Installation, until
from tests.acceptance import queues
from tests.stores import settings_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("queue")]

HASTE = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_LEASE_SECONDS": "1",
}
POINTS = [
    "web/accept:recorded",
    pytest.param("web/accept:sent", marks=pytest.mark.chaos),
    *("clock/accept:recorded", "clock/accept:sent", "clock/schedule:ticked", "clock/schedule:settled"),
    *("worker/step:handled", "worker/step:committed"),
]
MESSAGE = {"type": "user.message", "metadata": {"content": "good morning"}}
EVERY_SECONDS = 10

#: Schedules that are due within a minute, and others that are not.
MANY = 10_000


def installation(tmp_path, environment=None, **options):
    settings = {**settings_of(tmp_path / "data"), **HASTE, **(environment or {})}
    return Installation(tmp_path / "data", settings, queue=queues.current, **options)


def asked(client: Client, method: str, path: str, **options):
    answer = httpx2.request(method, f"{client.url}{path}", headers=client.headers(), timeout=20, **options)
    assert answer.is_success, answer.text
    return answer.json()


def fires(client: Client, schedule: dict) -> list[dict]:
    """Read all that a schedule fired, the oldest first."""
    found, page = [], {}
    while True:
        path = f"/api/schedules/{schedule['id']}/fires"
        answer = asked(client, "GET", path, params={"limit": 100, **page})
        found += answer["fires"]
        if answer["next"] is None:
            return found[::-1]
        page = {"before": answer["next"]}


def is_done(client: Client, event_id: str) -> bool:
    try:
        return client.event(event_id)["state"] == "done"
    except ClientError:
        return False


def made_over_and_over(running: Installation, client: Client, moment: datetime) -> dict:
    """Ask for a schedule under one key until it is answered."""
    form = {"timestamp": moment.isoformat(), "event": MESSAGE}
    answers = []

    def is_made():
        with suppress(httpx2.TransportError):
            headers = {"idempotency-key": "once", **client.headers()}
            answer = httpx2.post(f"{client.url}/api/schedule", headers=headers, timeout=20, json=form)
            answers.append(answer.raise_for_status().json())
        return bool(answers)

    until(is_made, "the schedule is made")
    return answers[0]


def made_behind_everybodys_back(running: Installation, client: Client, moment: datetime) -> dict:
    """Make a schedule in the store itself, as an ingress does that dies at once."""

    async def make() -> Schedule:
        storage = open_storage(running.settings)
        try:
            return await Schedules(storage).create(
                Schedule(
                    id=new_id(),
                    user_id=account_id_of("storm"),
                    event=Scheduled("user.message", "test", MESSAGE["metadata"]),
                    when=When(timestamp=moment),
                    said_at=now_utc(),
                    policies=Policies(),
                )
            )
        finally:
            await storage.close()

    with asyncio.Runner() as runner:
        return {"id": runner.run(make()).id}


@pytest.mark.parametrize("point", POINTS)
def test_a_slot_fires_once_wherever_a_process_dies(tmp_path, point):
    with (
        installation(tmp_path, {"LIGHTNING_CRASH_AT": point}) as running,
        running.user() as client,
    ):
        # Given something that is to fire once
        soon = datetime.now(UTC) + timedelta(seconds=2)
        # of which a clock alone knows where it is a clock that dies
        made = made_behind_everybodys_back if point.startswith("clock/") else made_over_and_over
        schedule = made(running, client, soon)
        # When a process dies on the way
        until(running.crashed, f"a process dies at {point}", seconds=3 * LONGEST_REST_SECONDS)
        # Then it fires, no earlier than planned, and nothing more comes
        until(lambda: [each["outcome"] for each in fires(client, schedule)] == ["fired"], "it has fired")
        [fire] = fires(client, schedule)
        [event_id] = fire["events"]
        until(lambda: is_done(client, event_id), "it is told")
        event = client.event(event_id)
        assert datetime.fromisoformat(event["recordedAt"]) >= soon - timedelta(milliseconds=1)
        assert (event["cause"], event["metadata"]) == (fire["id"], MESSAGE["metadata"])
        until(
            lambda: asked(client, "GET", f"/api/schedules/{schedule['id']}")["state"] == "ended",
            "the schedule has ended",
            seconds=3 * LONGEST_REST_SECONDS,
        )
        assert len(client.events(limit=200)["events"]) == 2


def test_what_fires_is_a_trace_that_leads_to_the_request_that_made_the_schedule(tmp_path):
    with installation(tmp_path) as running, running.user() as client:
        # Given a schedule that was made within a trace of the user's
        theirs = "0af7651916cd43dd8448eb211c80319c"
        headers = {"traceparent": f"00-{theirs}-b7ad6b7169203331-01", **client.headers()}
        soon = datetime.now(UTC) + timedelta(seconds=1)
        form = {"timestamp": soon.isoformat(), "event": MESSAGE}
        answer = httpx2.post(f"{client.url}/api/schedule", json=form, headers=headers, timeout=20)
        schedule = answer.raise_for_status().json()
        # When it has fired, and that is told
        until(lambda: [each["outcome"] for each in fires(client, schedule)] == ["fired"], "it has fired")
        [event_id] = fires(client, schedule)[0]["events"]
        until(lambda: is_done(client, event_id), "it is told")
        # Then all of it is one trace, from the fire on, and not the trace of the request
        store = SpanStore(running.data / "spans.db")
        queue = running.settings.servicebus_queue
        wanted = {"fire schedule", f"process {queue}-schedule-tick", f"process {queue}-messenger"}
        until(lambda: wanted <= spans_of(store, event_id).keys(), "the spans are stored")
        found = spans_of(store, event_id)
        store.close()
        assert len({span.trace_id for span in found.values()}) == 1
        # And its beginning leads to the request that made the schedule
        begin = found["fire schedule"]
        assert (begin.parent_id, begin.trace_id == theirs) == (None, False)
        assert [link["trace_id"] for link in begin.links] == [theirs]


def spans_of(store: SpanStore, event_id: str) -> dict[str, Span]:
    return {span.name: span for trace_id in store.traces_of_event(event_id) for span in store.trace(trace_id)}


def test_two_clocks_that_are_killed_over_and_over_lose_and_double_nothing(tmp_path, pytestconfig):
    seconds = 300 if pytestconfig.getoption("chaos") else 15
    chance = random.Random(8)
    with installation(tmp_path, clocks=2) as running, running.user() as client:
        # Given schedules that fire at all times
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        schedules = [
            asked(
                client,
                "POST",
                "/api/schedule",
                json={
                    "every": EVERY_SECONDS,
                    "startAt": (begin + timedelta(seconds=number / 2)).isoformat(),
                    "endAt": (begin + timedelta(seconds=number / 2 + seconds)).isoformat(),
                    "overlap": "allow",
                    "catchUp": "all",
                    "event": MESSAGE,
                },
            )
            for number in range(20)
        ]
        # When clocks die at random moments, together too
        killed = 0
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            time.sleep(chance.uniform(0.5, 2.5))
            for name in chance.choice([["clock"], ["clock.1"], ["clock", "clock.1"]]):
                killed += running.signal(name, signal.SIGKILL)
        assert killed > seconds / 5
        # Then each schedule has fired each of its slots once, in order
        expected = seconds // EVERY_SECONDS + 1

        def all_fired():
            return all(
                [each["outcome"] for each in fires(client, schedule)] == ["fired"] * expected
                for schedule in schedules
            )

        until(all_fired, "all have fired", seconds=120)
        for schedule in schedules:
            found = fires(client, schedule)
            planned = [datetime.fromisoformat(each["plannedAt"]) for each in found]
            steps = {behind - before for before, behind in itertools.pairwise(planned)}
            assert steps == {timedelta(seconds=EVERY_SECONDS)}
            assert len({event for each in found for event in each["events"]}) == expected


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_thousands_that_are_due_within_a_minute_fire_once_each(tmp_path):
    with installation(tmp_path, {"LIGHTNING_THREADS": "16"}) as running:
        planned, fired = asyncio.run(many_fire(running))
    assert fired == dict.fromkeys(planned, 1)


async def many_fire(running: Installation) -> tuple[list[str], dict[str, int]]:
    """Have schedules fire beside as many that are idle; give when each was due, and how often each fired."""
    storage = open_storage(running.settings)
    try:
        began = time.monotonic()
        await write_schedules(storage, [datetime.now(UTC) + timedelta(days=300)] * MANY, "idle")
        takes = timedelta(seconds=2 * (time.monotonic() - began) + 10)
        begin = datetime.now(UTC).replace(microsecond=0) + takes
        moments = [begin + timedelta(seconds=60) * number / MANY for number in range(MANY)]
        await write_schedules(storage, moments, "due")
        assert datetime.now(UTC) < begin, "they were not written in time"
        log, users = EventLog(storage), [f"due-{place}" for place in range(USERS)]
        done = 0
        while done < 2 * MANY:  # each with its tick; the time limit of the test ends it
            await asyncio.sleep(1)
            done = sum([(await log.head(user))["counts"].get("done", 0) for user in users])
        fired = Counter()
        for user in users:
            found = await log.events(user, [Where("type", "=", "user.message")], limit=1000)
            fired.update(event["metadata"]["content"] for event in found)
        return [str(moment.timestamp()) for moment in moments], dict(fired)
    finally:
        await storage.close()
