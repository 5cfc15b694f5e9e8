"""Tasks through the public face of an installation, on each runner: posted, watched, cancelled, ended."""

import json
import signal
from datetime import datetime

import pytest

from lightning.client import requests
from ops.chaos.installation import Installation, until
from tests.acceptance.runners import IMAGE, began

pytestmark = pytest.mark.timeout(180)

HASTE = {
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_THREADS": "4",
}

SMALL = {"cpu": 1, "memoryMiB": 128, "diskMiB": 8, "pids": 16}


@pytest.fixture(scope="module")
def running(tmp_path_factory, containers):
    environment = {**HASTE, **containers.environment()}
    with Installation(tmp_path_factory.mktemp("tasks") / "data", environment) as installation:
        yield installation


@pytest.fixture
def client(running, request):
    with running.user(request.node.name.replace("[", ".").rstrip("]")) as client:
        yield client


def task(client, **changes):
    """Post a task; what is None is left out."""
    asked = {"agent": "echo", "network": "none", "resources": SMALL, **changes}
    return client.send("worker.task", {name: value for name, value in asked.items() if value is not None})


def shell(client, script, **changes):
    return task(client, agent=None, image=IMAGE, command=["sh", "-c", script], **changes)


def result_of(over):
    [result] = [each for each in over["outputs"] if each["type"] == "worker.task.result"]
    return result["metadata"]


def test_a_task_runs_and_its_run_is_shown(client):
    # When somebody posts a task for the echo
    over = client.wait(task(client, input={"text": "hello"}))
    # Then its result is an event, and its run tells the same
    result = result_of(over)
    assert (over["state"], result["status"]) == ("done", "succeeded")
    [run] = client.runs()["runs"]
    assert (run["id"], run["taskID"], run["status"]) == (result["runID"], over["id"], "succeeded")
    assert run.items() <= client.run(run["id"]).items()
    log = client.run_log(run["id"], offset=2, limit=11)
    assert log == {"text": "am echo, an", "offset": 2, "next": 13, "complete": False}
    assert client.run_log(run["id"])["text"].endswith('{"text": "hello"}\n')
    assert client.run_log(run["id"])["complete"]


def test_a_run_is_shown_live_up_to_its_result(client):
    # Given a user who follows the stream
    client.send("user.message", {"content": "before"})
    frames = client._connection.frames(requests.stream(0, deltas=True), 60, lambda frame: frame)
    seen = [(next(frames).event, {})]
    # When a task runs whose command prints something and goes on
    posted = shell(client, "echo first; sleep 3; echo last")
    for frame in frames:
        if frame.data:
            seen.append((frame.event, json.loads(frame.data)))
        if frame.event == "worker.task.result":
            break
    frames.close()
    # Then its state and its first line came before its result, from the beginning of its log
    of_run = [(kind, each) for kind, each in seen if each.get("task") == posted["id"]]
    assert ("run", "running") in [(kind, each.get("status")) for kind, each in of_run]
    lines = [each for kind, each in of_run if kind == "log"]
    assert (lines[0]["offset"], lines[0]["text"].startswith("first")) == (0, True)
    assert {each["run"] for _, each in of_run} == {seen[-1][1]["metadata"]["runID"]}


def test_a_worker_that_is_killed_starts_nothing_twice(running, client, containers):
    # Given a task whose command runs until it is told to end
    gate = containers.gates / "killed"
    before = containers.deployments() if containers.emulated else 0
    event = shell(client, f"until [ -e /gates/{gate.name} ]; do sleep 0.1; done; echo slept")
    until(lambda: any(run["startedAt"] for run in client.runs()["runs"]), "its container began")
    [run] = client.runs()["runs"]
    known = None if containers.emulated else began(running.data / "runs")[f"run-{run['id']}"]
    # When the worker is killed, and another one goes on
    assert running.signal("worker.0", signal.SIGKILL)
    until(lambda: running.pid("worker.0") is not None, "there is a worker again")
    gate.touch()
    over = client.wait(event)
    # Then the container that had begun came to its end, and there is one result
    assert result_of(over)["output"] == "slept\n"
    started = client.run(run["id"])["startedAt"]
    assert started == run["startedAt"]
    if containers.emulated:
        assert containers.deployments() - before == 1
    else:
        assert datetime.fromisoformat(started).timestamp() == pytest.approx(known, abs=0.002)
    assert [each["type"] for each in client.events(root=event["id"])["events"]] == [
        "worker.task",
        "worker.task.result",
    ]


def test_a_task_is_cancelled_with_its_container(running, client, containers):
    event = shell(client, "sleep 600")
    until(lambda: any(run["status"] == "running" for run in client.runs()["runs"]), "it runs")
    # When it is cancelled
    client.cancel(event["id"])
    # Then its result says so at once, and its container is gone soon
    over = client.wait(event)
    assert (over["state"], result_of(over)["status"]) == ("cancelled", "cancelled")
    [run] = client.runs()["runs"]
    assert run["status"] == "cancelled"
    until(lambda: f"run-{run['id']}" not in containers.left(running), "its container is gone")


def test_a_group_is_joined_and_undone(client):
    # Given a group of which one task is done when another fails
    def step(name, script, **changes):
        command = ["sh", "-c", script]
        asked = {"image": IMAGE, "command": command, "network": "none", "resources": SMALL}
        return {"name": name, **asked, **changes}

    undo = step("undo one", "echo undone")
    tasks = [step("one", "echo done", rollback=undo), step("two", "exit 3"), step("three", "echo never")]
    event = client.send("worker.group", {"tasks": tasks, "atMost": 1})
    # When it is over
    over = client.wait(event)
    # Then its one result says what became of each
    [result] = [each["metadata"] for each in over["outputs"] if each["type"] == "worker.group.result"]
    assert result["status"] == "failed"
    told = [(each["name"], each["status"], each.get("rollback")) for each in result["results"]]
    assert told == [
        ("one", "succeeded", "succeeded"),
        ("two", "failed", None),
        ("three", "not_started", None),
    ]
    # And its tree shows all of it
    tree = client.tree(event["id"])["events"]
    runs = [(each["name"], each["run"]["status"]) for each in tree if each["type"] == "worker.task"]
    assert runs == [("one", "succeeded"), ("two", "failed"), ("undo one", "succeeded")]


def test_a_task_whose_time_is_up_is_ended(client):
    over = client.wait(shell(client, "sleep 600", timeoutSeconds=1))
    assert (over["state"], result_of(over)["status"]) == ("done", "timed_out")
    assert "1 seconds" in result_of(over)["message"]


def test_a_task_that_needs_too_much_memory_is_ended(client):
    # Given a shell that doubles what it holds without end
    over = client.wait(shell(client, "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"))
    assert (over["state"], result_of(over)["status"]) == ("done", "out_of_memory")
    assert "128 MiB" in result_of(over)["message"]


def test_a_task_whose_image_is_nowhere_says_so(client):
    over = client.wait(task(client, agent=None, image="no/such:1", command=["true"]))
    assert (over["state"], result_of(over)["status"]) == ("done", "failed")
    assert "image no/such:1" in result_of(over)["message"]


def test_a_task_that_fails_is_told_of_and_is_undone(client):
    # Given a task with a file, of which others are to follow
    told = {"type": "user.message", "metadata": {"content": "it failed"}}
    rollback = {"agent": "echo", "input": "undo", "network": "none", "resources": SMALL}
    over = client.wait(
        shell(client, "cat in/a; exit 3", files={"in/a": "x"}, onFailure=[told], rollback=rollback)
    )
    # When it fails, then its result, what was to follow and what undoes it are its outputs
    assert len(over["outputs"]) == 3, str(over["outputs"])
    result, message, undoing = (each["metadata"] for each in over["outputs"])
    assert (result["status"], result["exitCode"], result["output"]) == ("failed", 3, "x")
    assert message == told["metadata"]
    assert undoing["input"] == "undo"
    assert result["rollbackID"] == over["outputs"][2]["id"]
    # And that runs in its turn, as part of the same tree
    undone = client.wait(client.event(result["rollbackID"]))
    assert (undone["cause"], undone["root"]) == (over["id"], over["id"])
    assert result_of(undone)["status"] == "succeeded"


def test_an_agent_that_does_not_exist_is_named(client):
    over = client.wait(task(client, agent="nobody"))
    assert (result_of(over)["status"], result_of(over)["exitCode"]) == ("failed", 64)
    assert "no agent 'nobody'" in result_of(over)["output"]
