"""A worker that dies at any point of a task leaves one start of a container, one result, and no container.

Starts are counted at the runner. The scenario is also run with the promise broken by `saboteur`, and must
fail then.
"""

import sys
from pathlib import Path

import pytest

from ops.chaos.installation import Installation, until
from tests.acceptance.runners import IMAGE, Starts

pytestmark = pytest.mark.timeout(180)

HASTE = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_THREADS": "4",
}
SABOTEUR = str(Path(__file__).with_name("saboteur.py"))

SMALL = {"cpu": 1, "memoryMiB": 64, "diskMiB": 8, "pids": 16}

#: Where a runner's own start can be cut off.
RUNNER_POINTS = {
    "sandbox": ["runner:created", "runner:launched"],
    "aci": ["runner:absent", "runner:accepted"],
}
POINTS = [
    *("run:started", "run:recorded", "run:collected", "run:removed"),
    *("step:claimed", "step:handled", "step:committed", "step:sent"),
]

#: What `make test` runs too; the others are as many again, and differ little.
BRIEF = {"runner:created", "runner:launched", "runner:accepted", "run:started", "run:collected"}

CASES = [
    pytest.param(runner, point, marks=[] if point in BRIEF else pytest.mark.chaos, id=f"{runner}-{point}")
    for runner, own in RUNNER_POINTS.items()
    for point in [*own, *POINTS]
]


class Broken(AssertionError):
    """A promise was not kept."""


def crash(tmp_path, containers, point, *, sabotage=None):
    """Let the worker die at a point, once, and judge what becomes of a task."""
    environment = {**HASTE, **containers.environment(), "LIGHTNING_CRASH_AT": f"worker/{point}"}
    program = (sys.executable, "-m") if sabotage is None else (sys.executable, SABOTEUR, sabotage)
    gate = containers.gates / tmp_path.name
    with (
        Installation(tmp_path / "data", environment, program=program) as dying,
        Starts(containers, dying) as starts,
        dying.user() as client,
    ):
        # Given a task whose command runs until it was seen
        script = f"until [ -e /gates/{gate.name} ]; do sleep 0.1; done; sleep 2; echo slept"
        command = {"image": IMAGE, "command": ["sh", "-c", script], "network": "none", "resources": SMALL}
        event = client.send("worker.task", command)
        until(lambda: starts.count() > 0, "its container starts", seconds=60)
        # When the worker dies at the point, wherever that is
        gate.touch()
        over = client.wait(event)
        until(dying.crashed, f"the worker dies at {point}", seconds=60)
        # Then there is one result, nothing is left, and one container was started
        until(lambda: containers.left(dying) == [], "its container is gone", seconds=60)
        results = client.events(type="worker.task.result")["events"]
        if [each["metadata"]["output"] for each in results] != ["slept\n"]:
            raise Broken(f"the results are {results}")
        if (over["state"], over["outputs"][0]["id"]) != ("done", results[0]["id"]):
            raise Broken(f"the task ended as {over}")
        if starts.count() != 1:
            raise Broken(f"{starts.count()} containers were started")


@pytest.mark.parametrize(("containers", "point"), CASES, indirect=["containers"])
def test_a_worker_that_dies_at_any_point_starts_one_container(tmp_path, containers, point):
    crash(tmp_path, containers, point)


@pytest.mark.chaos
def test_the_matrix_notices_a_second_start(tmp_path, containers):
    with pytest.raises(Broken):
        crash(tmp_path, containers, "run:started", sabotage="other_names")
