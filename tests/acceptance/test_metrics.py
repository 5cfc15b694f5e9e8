"""Metrics of a whole platform, scraped from each of its processes."""

import threading
from collections import Counter

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lightning.client import Client
from lightning.keys import with_keys
from lightning.settings import Settings
from ops.access import first_user, make_first_user, wait_until_ready
from ops.chaos.forked import fork
from ops.chaos.installation import until
from ops.ports import free_port
from ops.up import processes
from worker.supervisor import Supervisor

pytestmark = pytest.mark.timeout(120)

TOKEN = "canary-token-of-metrics"


def ports(number: int) -> int:
    """Give the first of some ports that follow each other, which nobody else is given meanwhile."""
    found = [free_port()]
    while len(found) < number:
        found.append(free_port())
        if found[-1] != found[-2] + 1:
            found = found[-1:]
    return found[0]


@pytest.fixture
def settings(tmp_path):
    """Run an installation as `lightning up` does, and give its settings."""
    given = {
        "LIGHTNING_DATA": str(tmp_path / "data"),
        "PORT": str(ports(3)),
        "LIGHTNING_WORKERS": "1",
        "LIGHTNING_LOG_LEVEL": "warning",
        "LIGHTNING_METRICS_TOKEN": TOKEN,
    }
    settings = with_keys(Settings.load(given))
    supervisor = Supervisor(processes(settings), drain_seconds=0, start=fork)
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    try:
        yield settings
    finally:
        supervisor.stop()
        thread.join()


def scraped(port: int) -> dict[tuple, float]:
    """Ask a process for its metrics: by name and labels."""
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    assert TOKEN not in answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def moves(*several: dict[tuple, float]) -> Counter:
    """Add up which events went from which state to which, over processes."""
    found = Counter()
    for samples in several:
        for (name, labels), value in samples.items():
            if name == "lightning_events_moved_total":
                told = dict(labels)
                key = told["lightning_type"], told["lightning_state_before"], told["lightning_state"]
                found[key] += int(value)
    return found


def test_each_process_is_scraped_with_the_token_and_no_event_is_missing(settings):
    # Given an answer, something for the user, and something that is cancelled
    web, clock, worker = settings.port, settings.port + 1, settings.port + 2
    url = f"http://127.0.0.1:{web}"
    wait_until_ready(url)
    make_first_user(settings)
    with Client(url) as client:
        client.log_in(*first_user(settings.data))
        said = [client.send("llm.chat", {"content": "hi"}), client.send("user.message", {"content": "x"})]
        over = [client.wait(each) for each in said]
        until(lambda: not client.events(state="accepted")["events"], "all is over")
        recorded = Counter(each["type"] for each in client.events()["events"])
    assert {each["state"] for each in over} == {"done"}
    # When each process is asked
    told = [scraped(port) for port in (web, clock, worker)]
    # Then over all of them each event was recorded once, and ended once
    expected = Counter()
    for kind, number in recorded.items():
        expected[kind, "new", "accepted"] = expected[kind, "accepted", "done"] = number
    assert moves(*told) == expected
    # And each tells what is its own: the worker of its steps, the clock of the queues
    names = [{name for name, _ in samples} for samples in told]
    assert {"lightning_queue_lag_seconds_count", "lightning_step_duration_seconds_sum"} <= names[2]
    assert {"lightning_event_attempts_count", "gen_ai_client_token_usage_sum"} <= names[2]
    depths = {
        dict(labels)["lightning_queue"]: value for (name, labels), value in told[1].items() if "depth" in name
    }
    assert depths["lightning"] == 0
    assert all("process_resident_memory_bytes" in each for each in names)
    # And whoever does not show it is told nothing, while health is told to everybody
    for port in (web, clock, worker):
        refused = httpx2.get(f"http://127.0.0.1:{port}/metrics")
        assert (refused.status_code, "lightning_" in refused.text) == (401, False)
        assert httpx2.get(f"http://127.0.0.1:{port}/api/health").json()["live"] is True
