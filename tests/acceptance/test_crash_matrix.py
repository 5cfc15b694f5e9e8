"""A crash at every point between claim, effect, commit, send and acknowledgement repairs itself.

Each scenario is also run with one promise broken by `saboteur`, and must fail then.
"""

import asyncio
import fcntl
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from lightning.client import Client, ClientError
from lightning.log import EventLog
from lightning.storage import Where
from ops.chaos.installation import Installation, ModelServer, until
from tests.acceptance import queues
from tests.stores import settings_of, storage_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("queue")]

HASTE = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_THREADS": "4",
}
#: Where no repair waits for a claim to run out, none does so because the machine is slow.
LONG_CLAIM = {"LIGHTNING_CLAIM_SECONDS": "8"}
SABOTEUR = str(Path(__file__).with_name("saboteur.py"))

#: The model may be asked a second time only where the crash comes before the answer is committed.
WEB_POINTS = ["accept:recorded", "accept:sent", "enqueue:before", "enqueue:after"]
WORKER_POINTS = [
    "step:claimed",
    "step:handled",
    "step:committed",
    "step:sent",
    "enqueue:before",
    "enqueue:after",
    "ack:before",
    "ack:after",
]
BEFORE_COMMIT = {"step:claimed", "step:handled"}


class Broken(AssertionError):
    """A promise was not kept."""


def installation(tmp_path, model: ModelServer, *, sabotage=None, **options):
    environment = {**settings_of(tmp_path / "data"), **HASTE, **model.environment()}
    environment |= options.pop("environment", {})
    program = (sys.executable, "-m") if sabotage is None else (sys.executable, SABOTEUR, sabotage)
    return Installation(tmp_path / "data", environment, program=program, queue=queues.current, **options)


def post_once(client: Client, content: str) -> None:
    """Post as somebody does who never asks again, whatever comes back."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "test",
        "type": "llm.chat",
        "userID": client.user_id,
        "metadata": {"content": content},
    }
    # when the ingress dies, the log says whether it had recorded the event
    with suppress(httpx2.HTTPError):
        httpx2.post(f"{client.url}/api/events", json=event, headers=client.headers(), timeout=10)


def all_events(client: Client) -> list[dict]:
    """Read the log; the ingress may be on its way back."""
    try:
        return client.events(limit=200)["events"]
    except ClientError:
        return []


def judge(client: Client, model: ModelServer, said: str, *, calls: int, within_seconds: float) -> None:
    """Check from outside that one event came to its one end."""

    def over():
        found = all_events(client)
        return bool(found) and all(event["state"] != "accepted" for event in found)

    try:
        until(over, "every event is over", seconds=within_seconds)
    except TimeoutError as error:
        raise Broken(str(error)) from None
    found = all_events(client)
    chats = [event for event in found if event["type"] == "llm.chat"]
    answers = [event for event in found if event["type"] == "llm.chat.response"]
    if [event["state"] for event in chats] != ["done"]:
        raise Broken(f"the event ended as {chats}")
    if [answer["metadata"]["content"] for answer in answers] != [f"You said: {said}"]:
        raise Broken(f"the answers are {answers}")
    if [event["seq"] for event in found] != [1, 2]:
        raise Broken("the places are not consecutive")
    asked = model.calls()
    if not 1 <= asked <= calls:
        raise Broken(f"the model was asked {asked} times, {calls} at most can be explained")


def crash(tmp_path, point: str, *, sabotage: str | None = None, clock: bool = True, within_seconds=30.0):
    """Let one process die at a point, once, and judge what becomes of the event."""
    is_asked_again = point.partition("/")[2] in BEFORE_COMMIT
    environment = {"LIGHTNING_CRASH_AT": point, "LIGHTNING_LEASE_SECONDS": "1"}
    environment |= {} if is_asked_again else LONG_CLAIM
    with (
        ModelServer(tmp_path) as model,
        installation(tmp_path, model, sabotage=sabotage, clock=clock, environment=environment) as running,
        running.user() as client,
    ):
        post_once(client, "hello")
        until(running.crashed, f"a process dies at {point}")
        judge(client, model, "hello", calls=2 if is_asked_again else 1, within_seconds=within_seconds)


@pytest.mark.parametrize("point", [f"web/{point}" for point in WEB_POINTS])
def test_a_crash_of_the_ingress_loses_nothing(tmp_path, point):
    crash(tmp_path, point)


@pytest.mark.parametrize("point", [f"worker/{point}" for point in WORKER_POINTS])
def test_a_crash_of_the_worker_is_repaired_by_sweep_and_redelivery(tmp_path, point):
    crash(tmp_path, point)


@pytest.mark.parametrize("point", ["worker/step:claimed", "worker/step:handled", "worker/step:committed"])
def test_a_crash_of_the_worker_is_repaired_by_redelivery_alone(tmp_path, point):
    crash(tmp_path, point, clock=False)


def converse(tmp_path, point: str, *, sabotage: str | None = None, within_seconds: float = 30.0):
    """Say two things in one conversation, and let the worker die at a point, once."""
    with (
        ModelServer(tmp_path) as model,
        installation(
            tmp_path,
            model,
            sabotage=sabotage,
            environment={"LIGHTNING_CRASH_AT": point, "LIGHTNING_LEASE_SECONDS": "1"},
        ) as running,
        running.user() as client,
    ):
        for content in ("one", "two"):
            client.send("llm.chat", {"content": content, "conversationID": "c"})
        until(running.crashed, f"the worker dies at {point}")

        def over():
            found = all_events(client)
            return len(found) == 4 and all(event["state"] == "done" for event in found)

        try:
            until(over, "both are answered", seconds=within_seconds)
        except TimeoutError as error:
            raise Broken(str(error)) from None
        answers = [event["metadata"]["content"] for event in all_events(client) if event["cause"]]
        if answers != ["You said: one", "You said: two"]:
            raise Broken(f"the answers are {answers}")


@pytest.mark.parametrize("point", ["worker/step:handled", "worker/step:committed", "worker/step:sent"])
def test_the_next_turn_comes_whatever_became_of_the_worker(tmp_path, point):
    converse(tmp_path, point)


def test_the_matrix_notices_a_turn_that_is_not_passed_on(tmp_path):
    with pytest.raises(Broken):
        converse(tmp_path, "worker/step:committed", sabotage="keep_the_turn", within_seconds=12)


def test_the_matrix_notices_an_early_acknowledgement(tmp_path):
    with pytest.raises(Broken):
        crash(tmp_path, "worker/step:handled", sabotage="acknowledge_early", clock=False, within_seconds=12)


def test_the_matrix_notices_a_missing_sweep(tmp_path):
    with pytest.raises(Broken):
        crash(tmp_path, "web/accept:recorded", sabotage="no_sweep", within_seconds=12)


def stall(tmp_path, *, sabotage: str | None = None):
    """Stop one worker in mid-answer until another has answered, then let it go on."""
    script = [{"hold": True, "hold_after": 0, "reply": "You said: stale", "times": 1}]
    with (
        ModelServer(tmp_path, script) as model,
        installation(tmp_path, model, sabotage=sabotage, workers=2) as running,
        running.user() as client,
    ):
        # Given an event that a worker has asked the model about
        post_once(client, "hello")
        until(lambda: model.held() == 1, "the model is asked")
        # When that worker stands still, so that its claim runs out and the other one answers
        until(lambda: len(holders(running)) == 1, "the claim is seen")  # a replica may be behind
        [holder] = holders(running)
        until(lambda: stands_still(running, holder), "it stands still")
        until(
            lambda: any(event["type"] == "llm.chat.response" for event in all_events(client)),
            "the other worker answers",
        )
        # And then wakes up with an answer of its own
        model.release()
        running.signal(holder, signal.SIGCONT)
        until(lambda: model.held() == 0, "the held answer is sent")
        settle(running)
        # Then the first answer stands, and the counters of the log agree with its events
        judge(client, model, "hello", calls=2, within_seconds=10)
        counted = head(running, client)
        found = all_events(client)
        if counted != {"accepted": 0, "done": len(found)}:
            raise Broken(f"the head counts {counted} for {len(found)} events")


def holders(running: Installation) -> list[str]:
    """Name the worker that has claimed an event: the owner begins with its process id."""
    events = asyncio.run(_events(running))
    owners = [event["claim"]["owner"] for event in events if event["claim"]]
    pids = {owner.partition("-")[0] for owner in owners}
    return [name for name in running.names() if str(running.pid(name)) in pids]


def stands_still(running: Installation, name: str) -> bool:
    """Stop a process; one that holds a file lock, which keeps all others from working, goes on."""
    running.signal(name, signal.SIGSTOP)
    tasks = Path(f"/proc/{running.pid(name)}/task")

    def stopped():
        return all((task / "stat").read_text().rpartition(") ")[2][0] == "T" for task in tasks.iterdir())

    until(stopped, f"{name} stops")
    kept = running.data / "run-api.sock.lock"  # by the ingress, as long as it lives
    if any(_is_locked(path) for path in running.data.glob("*.lock") if path != kept):
        running.signal(name, signal.SIGCONT)
        return False
    return True


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _events(running: Installation) -> list[dict]:
    storage = storage_of(running.data)
    try:
        found = await storage.query(
            "events", None, [Where("kind", "=", "event")], order_by="seq", limit=1_000
        )
        return [stored.body for stored in found.items]
    finally:
        await storage.close()


def settle(running: Installation) -> None:
    """Drain every worker, so that what they still had to write is written."""
    for name in running.names():
        if name.startswith("worker"):
            pid = running.pid(name)
            running.signal(name, signal.SIGTERM)
            until(lambda name=name, pid=pid: running.pid(name) not in (pid, None), f"{name} drains")


def head(running: Installation, client: Client) -> dict:
    return asyncio.run(_head(running, client.user_id))["counts"]


async def _head(running: Installation, user_id: str) -> dict:
    storage = storage_of(running.data)
    try:
        return await EventLog(storage).head(user_id)
    finally:
        await storage.close()


def test_a_worker_that_stood_still_changes_nothing_any_more(tmp_path):
    stall(tmp_path)


def test_the_matrix_notices_ignored_etags(tmp_path):
    with pytest.raises(Broken):
        stall(tmp_path, sabotage="ignore_etags")


def chains(tmp_path, *, sabotage: str | None = None):
    """Crash after an attempt was put off, so that the message of the old wake comes again."""
    script = [{"status": 429, "headers": {"Retry-After": "12"}, "error": "slow down", "times": 1}]
    with (
        ModelServer(tmp_path, script) as model,
        installation(
            tmp_path,
            model,
            sabotage=sabotage,
            clock=False,
            workers=2,  # nobody has to start first, which may take longer than the wait
            environment={
                "LIGHTNING_CRASH_AT": "worker/step:sent",
                "LIGHTNING_LEASE_SECONDS": "1",
                **LONG_CLAIM,
            },
        ) as running,
        running.user() as client,
    ):
        # Given an event that waits for its next attempt, and a worker killed before it acknowledged
        post_once(client, "hello")
        until(running.crashed, "the worker dies")
        # When the old message is delivered again, as its lease is over
        # Then only the message of the new wake stays in the queue: another would be a second chain
        try:
            until(lambda: running.messages() == 1, "one message waits", seconds=8)
        except TimeoutError as error:
            raise Broken(str(error)) from None
        judge(client, model, "hello", calls=2, within_seconds=20)


def test_an_old_message_does_not_begin_a_second_chain(tmp_path):
    chains(tmp_path)


def test_the_matrix_notices_a_missing_wake_check(tmp_path):
    with pytest.raises(Broken):
        chains(tmp_path, sabotage="no_wake_check")
