"""Events that kill their worker, or hold it for ever: they end dead, and nobody else suffers for long."""

import sys
from pathlib import Path

import pytest

from lightning.client import Client
from ops.chaos.installation import Installation, ModelServer, until
from tests.acceptance import queues
from tests.stores import settings_of

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("queue")]

SABOTEUR = (sys.executable, str(Path(__file__).with_name("saboteur.py")), "poison")

HASTE = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CLAIM_SECONDS": "1",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_LEASE_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_STUCK_SECONDS": "2",
}

#: What poison does to the worker, and how its event ends.
POISONS = {
    "raise": "unexpected_error",
    "memory": "unexpected_error",
    "segfault": "attempts_exhausted",
    "killed": "attempts_exhausted",
    "loop": "attempts_exhausted",
    "regex": "attempts_exhausted",
}

#: After the last worker died, somebody else is answered within so long where nothing else runs.
BACK_SECONDS = 5.0


def is_over(client: Client, event: dict) -> bool:
    return client.event(event["id"])["state"] != "accepted"


#: As bad as others, and as slow: these run in `make chaos`.
AT_LENGTH = {"killed", "regex"}


@pytest.mark.parametrize(
    "poison", [pytest.param(each, marks=[pytest.mark.chaos] * (each in AT_LENGTH)) for each in POISONS]
)
def test_poison_is_dead_after_its_attempts_and_the_worker_is_back(tmp_path, poison, request):
    thorough = request.config.getoption("--chaos")
    attempts = 5 if thorough else 2
    environment = {**settings_of(tmp_path / "data"), **HASTE, "LIGHTNING_MAX_ATTEMPTS": str(attempts)}
    with (
        ModelServer(tmp_path) as model,
        Installation(
            tmp_path / "data", {**environment, **model.environment()}, program=SABOTEUR, queue=queues.current
        ) as running,
        running.user() as client,
    ):
        # Given an event that does harm to whoever works on it
        poisoned = client.send("llm.chat", {"content": poison})
        # When it has been delivered as often as it may
        until(lambda: is_over(client, poisoned), "it is over", seconds=20 * attempts)
        # Then it is dead, and says why
        ended = client.event(poisoned["id"])
        assert (ended["state"], ended["error"]["code"]) == ("dead", POISONS[poison])
        # And somebody else is answered soon
        hello = client.send("llm.chat", {"content": "hello"})
        answer = client.wait(hello, timeout_seconds=BACK_SECONDS if thorough else 60)
        assert [output["metadata"]["content"] for output in answer["outputs"]] == ["You said: hello"]
