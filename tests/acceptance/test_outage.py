"""A store or a queue that stands still (SIGSTOP): answers stay bounded, and all is well when it goes on."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx2
import pytest

from lightning.client import Client
from ops.chaos.installation import Installation, ModelServer, until
from ops.chaos.queues import ServiceBusProcess
from ops.chaos.stores import CosmosProcess

pytestmark = pytest.mark.timeout(180)

HASTE = {
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.2",
}

#: No request takes longer, whatever stands still.
BOUND_SECONDS = 30.0


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("outage")
    with (
        ModelServer(folder) as model,
        Installation(
            folder / "data",
            {**HASTE, **model.environment()},
            queue=ServiceBusProcess(durable=True),
            store=CosmosProcess(),
        ) as running,
    ):
        yield running


@pytest.fixture
def client(running, request) -> Iterator[Client]:
    with running.user(request.node.name[:60]) as client:
        yield client


def post(client: Client, content: str) -> httpx2.Response:
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "test",
        "type": "llm.chat",
        "userID": client.user_id,
        "metadata": {"content": content},
    }
    return httpx2.post(
        f"{client.url}/api/events", json=event, headers=client.headers(), timeout=BOUND_SECONDS
    )


def health(client: Client) -> tuple[int, dict]:
    answer = httpx2.get(f"{client.url}/api/health", timeout=BOUND_SECONDS)
    return answer.status_code, {name: part["ready"] for name, part in answer.json()["parts"].items()}


def answers(client: Client, event_id: str) -> list[str]:
    event = client.wait({"id": event_id}, timeout_seconds=60)
    return [output["metadata"]["content"] for output in event["outputs"]]


def restart_the_ingress(running: Installation) -> None:
    """Have an ingress that has no connection to anything yet."""
    pid = running.pid("web")
    running.signal("web", signal.SIGKILL)
    until(lambda: running.pid("web") not in {pid, None}, "it is started again")
    with Client(running.url, timeout_seconds=BOUND_SECONDS) as anybody:
        until(lambda: _answers(anybody), "it listens")


def _answers(client: Client) -> bool:
    try:
        health(client)
    except httpx2.TransportError:
        return False
    return True


def test_a_store_that_stands_still(running, client):
    # Given an event that was worked on
    assert answers(client, post(client, "before").json()["id"]) == ["You said: before"]
    # When the store stands still, which takes connections and answers nothing
    running.signal("cosmos", signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(lambda n: post(client, f"refused {n}"), range(8)))
        said = health(client)
        # and an ingress begins meanwhile
        restart_the_ingress(running)
        refused.append(post(client, "refused at the start"))
        said_at_start = health(client)
    finally:
        running.signal("cosmos", signal.SIGCONT)
    # Then everybody is told so, and health says which part it is
    assert {each.status_code for each in refused} == {503}
    assert {each.json()["code"] for each in refused} == {"store_unavailable"}
    assert all(each.headers["retry-after"].isdecimal() for each in refused)
    assert said == said_at_start == (503, {"storage": False, "queue": True})
    # And when the store goes on, so does everything
    until(lambda: health(client)[0] == 200, "it is ready")
    assert answers(client, post(client, "after").json()["id"]) == ["You said: after"]


def test_a_queue_that_stands_still(running, client):
    # Given a queue that stands still
    running.signal("servicebus", signal.SIGSTOP)
    try:
        # When events are posted
        with ThreadPoolExecutor(8) as pool:
            posted = list(pool.map(lambda n: post(client, f"kept {n}"), range(8)))
        said = health(client)
        restart_the_ingress(running)
        posted.append(post(client, "kept 8"))
        said_at_start = health(client)
    finally:
        running.signal("servicebus", signal.SIGCONT)
    # Then they are accepted all the same, and health says which part is away
    assert {each.status_code for each in posted} == {202}
    assert said == said_at_start == (200, {"storage": True, "queue": False})
    # And when the queue goes on, all are answered
    ids = [each.json()["id"] for each in posted]
    assert [answers(client, each) for each in ids] == [[f"You said: kept {n}"] for n in range(9)]
    until(lambda: health(client)[1]["queue"], "the queue is there")
