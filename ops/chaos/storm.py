"""The storm: many events while processes are killed; judged from outside the log."""

import asyncio
import signal
import time
from datetime import UTC, datetime

import httpx2

from lightning.client import Client
from ops.chaos.installation import Installation, ModelServer, kill_at_random
from ops.chaos.receiver import Receiver
from ops.chaos.runners import EmulatedContainers
from ops.chaos.verdict import Verdict, is_notice, is_task, judge

#: Posts under way at a time.
CLIENTS = 16

#: Chats, and webhooks, that a worker handles at a time.
THREADS = 16

#: Pauses between kills, in seconds.
KILL_PAUSE = (0.2, 1.0)

#: One of so many events is a message to a webhook, one is for an agent in a container; the others are chats.
NOTICE_EVERY = 5
TASK_EVERY = 100

#: Processes that all workers stand on.
SERVERS = frozenset({"cosmos", "servicebus"})

#: What the webhook goes by.
WEBHOOK = "storm"


async def storm(
    installation: Installation,
    model: ModelServer,
    receiver: Receiver,
    containers: EmulatedContainers,
    *,
    events: int,
    seed: int,
    delete_queue: bool = False,
    deaths: int = 0,
    quiet_seconds: float = 120.0,
) -> Verdict:
    """Post events while processes die, wait until all is quiet, and judge.

    Parameters:
      installation: A running installation that asks ``model``.
      model: The model server, where calls are counted.
      receiver: The server that webhooks are posted to, where they are counted.
      containers: Where ``installation`` starts containers, which are counted there.
      events: How many.
      seed: Decides who dies and when.
      delete_queue: Lose the queue when half of the events are posted.
      deaths: How often each process dies at least: the events wait for it, so that few are enough.
      quiet_seconds: How long it may take, after the last kill, until every event is over.
    """
    verdict = Verdict()
    started = time.monotonic()
    with await asyncio.to_thread(installation.user) as client:
        await _make_webhook(installation, client, receiver)
        stop = asyncio.Event()
        killing = asyncio.create_task(
            kill_at_random(
                installation, seed, stop, KILL_PAUSE, lambda: len(verdict.accepted), verdict.killed
            )
        )
        await _post_all(installation, client, events, verdict, delete_queue=delete_queue, deaths=deaths)
        stop.set()
        await killing
        verdict.explained = THREADS * _interrupted(installation, verdict.killed)
        for name in installation.names():
            installation.signal(name, signal.SIGCONT)
        await asyncio.to_thread(judge, client, model, receiver, containers, verdict, quiet_seconds)
    verdict.seconds = time.monotonic() - started
    return verdict


def _interrupted(installation: Installation, killed: list[str]) -> int:
    """Count how often a worker was interrupted: by its own death, or by that of what all of them stand on."""
    workers = sum(name.startswith("worker") for name in installation.names())
    return sum(1 if name.startswith("worker") else workers * (name in SERVERS) for name in killed)


async def _make_webhook(installation: Installation, client: Client, receiver: Receiver) -> None:
    body: dict[str, object] = {"url": receiver.url, "name": WEBHOOK, "types": []}
    async with httpx2.AsyncClient(base_url=installation.url, headers=client.headers(), timeout=10) as http:
        (await http.post("/api/webhooks", json=body)).raise_for_status()


async def _post_all(
    installation: Installation,
    client: Client,
    events: int,
    verdict: Verdict,
    *,
    delete_queue: bool,
    deaths: int,
) -> None:
    numbers = iter(range(events))
    kills = deaths * len(installation.names())
    headers = client.headers()
    async with httpx2.AsyncClient(base_url=installation.url, headers=headers, timeout=10) as http:

        async def post() -> None:
            for number in numbers:
                while len(verdict.killed) * events < number * kills:  # noqa: ASYNC110 -- a part of them each
                    await asyncio.sleep(0.02)
                if delete_queue and number == events // 2:
                    await asyncio.to_thread(installation.lose_queue)
                said = f"{_kind(number)} {number}"
                event_id = await _post(http, client.user_id or "", said)
                verdict.accepted[event_id] = said

        await asyncio.gather(*(post() for _ in range(CLIENTS)))


def _kind(number: int) -> str:
    if number % TASK_EVERY == 1:
        return "task"
    return "message" if number % NOTICE_EVERY else "notice"


async def _post(http: httpx2.AsyncClient, user_id: str, said: str) -> str:
    """Post as a careful client does: again under the same key until it is accepted."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "storm",
        "userID": user_id,
        **_event(said),
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


def _event(said: str) -> dict[str, object]:
    if is_task(said):
        return {"type": "worker.task", "metadata": {"agent": "echo", "input": said, "network": "none"}}
    if is_notice(said):
        return {"type": "user.message", "metadata": {"content": said, "to": [WEBHOOK]}}
    return {"type": "llm.chat", "metadata": {"content": said}}
