"""The storm: many events while processes are killed; judged from outside the log."""

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from lightning.client import Client, Event
from ops.chaos.installation import Installation, ModelServer, kill_at_random

#: Posts under way at a time.
CLIENTS = 16

#: Events that a worker handles at a time.
THREADS = 16

#: Pauses between kills, in seconds.
KILL_PAUSE = (0.4, 1.6)


@dataclass
class Verdict:
    """What was seen from outside.

    Parameters:
      accepted: Ids that the client was given with a 202, and what it had said.
      problems: Everything that should not be; empty is the aim.
    """

    accepted: dict[str, str] = field(default_factory=dict[str, str])
    killed: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    model_calls: int = 0
    repeated_calls: int = 0
    seconds: float = 0.0

    def summary(self) -> str:
        """Say it in one line."""
        kills = ", ".join(f"{count} {name}" for name, count in sorted(Counter(self.killed).items()))
        verdict = "PASSED" if not self.problems else "FAILED: " + "; ".join(self.problems[:5])
        return (
            f"{len(self.accepted)} events in {self.seconds:.0f} s, killed {kills or 'nobody'},"
            f" {self.model_calls} model calls ({self.repeated_calls} repeated): {verdict}"
        )


async def storm(
    installation: Installation,
    model: ModelServer,
    *,
    events: int,
    seed: int,
    delete_queue: bool = False,
    quiet_seconds: float = 120.0,
) -> Verdict:
    """Post events while processes die, wait until all is quiet, and judge.

    Parameters:
      installation: A running installation that asks ``model``.
      model: The model server, where calls are counted.
      events: How many.
      seed: Decides who dies and when.
      delete_queue: Remove the queue's files when half of the events are posted.
      quiet_seconds: How long it may take, after the last kill, until every event is over.
    """
    verdict = Verdict()
    started = time.monotonic()
    client = await asyncio.to_thread(installation.user)
    stop = asyncio.Event()
    killing = asyncio.create_task(kill_at_random(installation, seed, stop, KILL_PAUSE))
    await _post_all(installation, client, events, verdict, delete_queue=delete_queue)
    stop.set()
    verdict.killed = await killing
    for name in installation.names():
        installation.signal(name, signal.SIGCONT)
    await asyncio.to_thread(_judge, client, model, verdict, quiet_seconds)
    verdict.seconds = time.monotonic() - started
    client.close()
    return verdict


async def _post_all(
    installation: Installation, client: Client, events: int, verdict: Verdict, *, delete_queue: bool
) -> None:
    numbers = iter(range(events))
    headers = client.headers()
    async with httpx2.AsyncClient(base_url=installation.url, headers=headers, timeout=10) as http:

        async def post() -> None:
            for number in numbers:
                if delete_queue and number == events // 2:
                    for file in installation.data.glob("queue.db*"):
                        if file.is_file():
                            file.unlink(missing_ok=True)
                said = f"message {number}"
                event_id = await _post(http, client.user_id or "", said)
                verdict.accepted[event_id] = said

        await asyncio.gather(*(post() for _ in range(CLIENTS)))


async def _post(http: httpx2.AsyncClient, user_id: str, said: str) -> str:
    """Post as a careful client does: again under the same key until it is accepted."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "storm",
        "type": "llm.chat",
        "userID": user_id,
        "metadata": {"content": said},
    }
    while True:
        try:
            answer = await http.post("/api/events", json=event, headers={"idempotency-key": said})
        except httpx2.HTTPError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 202:
            return answer.json()["id"]
        if answer.status_code < 500:
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        await asyncio.sleep(0.1)


def _judge(client: Client, model: ModelServer, verdict: Verdict, quiet_seconds: float) -> None:
    found = _when_quiet(client, quiet_seconds)
    problems = verdict.problems
    seqs = [event["seq"] for event in found]
    if seqs != list(range(1, len(found) + 1)):
        problems.append("the places are not consecutive")
    restless = [event["id"] for event in found if event["state"] == "accepted"]
    if restless:
        problems.append(f"{len(restless)} events are not over, such as {restless[0]}")
    roots = {event["id"]: event for event in found if event["cause"] is None}
    if roots.keys() != verdict.accepted.keys():
        problems.append(f"{len(verdict.accepted.keys() ^ roots.keys())} events differ from those accepted")
    answers: dict[str, list[Event]] = {}
    for event in found:
        if event["cause"] is not None:
            answers.setdefault(event["cause"], []).append(event)
    for event_id, said in verdict.accepted.items():
        contents = [answer["metadata"]["content"] for answer in answers.get(event_id, [])]
        if contents != [f"You said: {said}"]:
            problems.append(f"{event_id} has the answers {contents}")
        if event_id in roots and roots[event_id]["state"] != "done":
            problems.append(f"{event_id} is {roots[event_id]['state']}: {roots[event_id]['error']}")
    _judge_stream(client, found, problems)
    _judge_model(model, verdict)


def _when_quiet(client: Client, seconds: float) -> list[Event]:
    """Read the whole log as soon as nothing is accepted any more, or the time is over."""
    deadline = time.monotonic() + seconds
    while client.events(state="accepted", limit=1)["events"] and time.monotonic() < deadline:
        time.sleep(0.1)
    found: list[Event] = []
    after = 0
    while True:
        page = client.events(after=after, limit=200)
        found += page["events"]
        if page["next"] is None:
            return found
        after = page["next"]


def _judge_stream(client: Client, found: list[Event], problems: list[str]) -> None:
    streamed: list[str] = []
    for event in client.stream(after=0, timeout_seconds=30):
        streamed.append(event["id"])
        if len(streamed) == len(found):
            break
    if streamed != [event["id"] for event in found]:
        problems.append("the stream does not show every event once and in order")


def _judge_model(model: ModelServer, verdict: Verdict) -> None:
    """Count the calls where they arrive: each message at least once, and no more than the kills explain."""
    summary = httpx2.get(f"{model.root}/control/requests", params={"summary": 1}).json()
    calls = summary["by_last_user_message"]
    verdict.model_calls = summary["count"]
    verdict.repeated_calls = sum(count - 1 for count in calls.values())
    missing = set(verdict.accepted.values()) - calls.keys()
    if missing:
        verdict.problems.append(f"the model was never asked {len(missing)} messages")
    # the calls of a killed worker are repeated, as many as it has threads
    allowed = sum(name.startswith("worker") for name in verdict.killed) * THREADS
    if verdict.repeated_calls > allowed:
        verdict.problems.append(f"{verdict.repeated_calls} calls were repeated; {allowed} can be explained")
