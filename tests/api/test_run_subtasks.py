"""Tasks that a run starts: once, no more than it may, and with no more than it has itself."""

import threading

import pytest

from lightning.domain.run_reports import MAX_SUBTASKS
from lightning.log import Dispatch, EventLog
from tests.api.conftest import assert_problem
from tests.api.runs import GoingRun, repository_of, working
from tests.memory_queue import MemoryQueue

ECHO = {"agent": "echo"}


@pytest.fixture
def run(ingress):
    return GoingRun(ingress.person())


def started(run, *tasks, **more):
    answer = run.post("/run/tasks", {"tasks": list(tasks), **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["ids"]


def event(run, id):
    return run.person.get(f"/api/events/{id}").json()


def as_run(run, id):
    """Give the run of a task that a run started, as a worker has written it down."""
    child = object.__new__(GoingRun)
    child.person, child.ingress, child.task = run.person, run.ingress, event(run, id)
    child.document = child.change(lambda runs, found: runs.advance(found, stage="running", begun=True))
    child.token = child.minted()
    return child


def test_they_follow_from_the_task_of_the_run(run):
    first, second = started(run, {"name": "one", **ECHO}, {**ECHO, "input": 2})
    for each in (first, second):
        found = event(run, each)
        assert (found["cause"], found["root"]) == (run.task["id"], run.task["id"])
        assert (found["type"], found["state"]) == ("worker.task", "accepted")
    shown = run.get(f"/run/tasks/{first}").json()
    assert shown == {"id": first, "type": "worker.task", "name": "one", "state": "accepted", "result": None}


def test_the_same_again_is_started_once(run):
    # Given tasks that were started without a key, and under one
    ids, keyed = started(run, ECHO, ECHO), started(run, ECHO, key="k")
    assert len({*ids, *keyed}) == 3
    # When the same is asked for again, then nothing more is started
    assert (started(run, ECHO, ECHO), started(run, ECHO, key="k")) == (ids, keyed)
    found = run.person.get("/api/events", root=run.task["id"], type="worker.task").json()["events"]
    assert len(found) == 1 + 3
    # And another key is another task, another task under the key a mistake
    assert started(run, ECHO, key="l") != keyed
    assert_problem(run.post("/run/tasks", {"tasks": [{**ECHO, "input": 1}], "key": "k"}), 409, "id_taken")


def test_a_group_is_started_and_told_likewise(run):
    answer = run.post("/run/tasks", {"group": {"tasks": [ECHO, ECHO]}})
    assert answer.status_code == 201, answer.text
    [group] = answer.json()["ids"]
    assert event(run, group)["type"] == "worker.group"
    assert run.get(f"/run/tasks/{group}").json()["type"] == "worker.group"


def test_who_waits_is_told_of_the_end(run):
    # Given a run that waits for a task
    [task] = started(run, ECHO)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(run.get(f"/run/tasks/{task}", wait=20)))
    waiting.start()

    # When that is over, here as the one branch of the tree that is cancelled
    async def end(storage):
        log = EventLog(storage)
        why = {"code": "group_failed", "message": "Another one failed"}
        await Dispatch(log, MemoryQueue()).cancel_branches(await log.get(run.person.id, task), [task], why)

    with run.ingress.accounts() as made:
        made.run(end(made.storage))
        run.ingress.catch_up(made.storage)
    # Then it is told how it ended, and goes on itself
    waiting.join(60)
    shown = answers[0].json()
    assert (shown["state"], shown["result"]["status"]) == ("cancelled", "cancelled")
    assert run.get("/run/task").status_code == 200


@pytest.mark.parametrize(
    ("tasks", "status", "code", "pointer"),
    [
        ([{**ECHO, "network": "full"}], 403, "network_not_allowed", "/tasks/0/network"),
        ([ECHO, {**ECHO, "repo": "notes"}], 403, "repo_not_allowed", "/tasks/1/repo"),
        (
            [{**ECHO, "rollback": {**ECHO, "network": "full"}}],
            403,
            "network_not_allowed",
            "/tasks/0/rollback/network",
        ),
        (
            [{**ECHO, "rollback": {**ECHO, "repo": "notes"}}],
            403,
            "repo_not_allowed",
            "/tasks/0/rollback/repo",
        ),
        ([{**ECHO, "rollback": {"agent": 1}}], 422, "invalid_field", "/tasks/0/rollback/agent"),
        (
            [{**ECHO, "rollback": {**ECHO, "rollback": ECHO}}],
            422,
            "invalid_field",
            "/tasks/0/rollback/rollback",
        ),
        (
            [{**ECHO, "onSuccess": [{"type": "user.message", "metadata": {"content": "x"}}]}],
            422,
            "subtask_follow_ups",
            "/tasks/0",
        ),
        ([], 422, "invalid_field", "/tasks"),
        ([ECHO] * (MAX_SUBTASKS + 1), 422, "invalid_field", "/tasks"),
    ],
)
def test_it_asks_for_no_more_than_it_has(ingress, tasks, status, code, pointer):
    # Given a run without network and repository; when it asks for one, then nothing is started
    run = GoingRun(ingress.person(), network="none")
    for body in [{"tasks": tasks}, *([{"group": {"tasks": tasks}}] if status == 403 else [])]:
        answer = run.post("/run/tasks", body)
        assert_problem(answer, status, code, pointer=("/group" if "group" in body else "") + pointer)
    assert len(run.person.get("/api/events", root=run.task["id"]).json()["events"]) == 1


def test_it_hands_on_what_it_has(ingress):
    # Given a run without network that works on a repository
    person = ingress.person()
    repo, base = repository_of(person)
    run = working(person, repo, base, network="none")
    # When its tasks name the repository as its own task does, or none, and no network
    ids = started(run, {**ECHO, "repo": repo, "rollback": {**ECHO, "repo": repo}}, ECHO)
    # Then they have the same, and nothing else
    found = [event(run, each)["metadata"] for each in ids]
    assert [each.get("repo") for each in found] == [repo, None]
    assert {each["network"] for each in found} == {"none"}
    assert (found[0]["rollback"]["network"], found[0]["rollback"]["repo"]) == ("none", repo)


def test_their_number_is_bounded(run):
    started(run, *[ECHO] * (MAX_SUBTASKS - 2))
    answer = run.post("/run/tasks", {"group": {"tasks": [ECHO] * 3}})
    assert_problem(answer, 409, "too_many_subtasks")
    assert run.post("/run/tasks", {"group": {"tasks": [ECHO] * 2}}).status_code == 201
    assert_problem(run.post("/run/tasks", {"tasks": [ECHO], "key": "one more"}), 409, "too_many_subtasks")


def test_their_depth_is_bounded(run):
    # Given a part of a part of a run
    part = as_run(run, started(run, ECHO)[0])
    innermost = as_run(part, started(part, ECHO)[0])
    # When it wants to start a part of its own, then that is too much
    assert_problem(innermost.post("/run/tasks", {"tasks": [ECHO]}), 409, "too_deep")


def test_a_run_sees_only_what_it_started(run):
    # Given a task of another user's run, and others of the same user
    other = GoingRun(run.ingress.person())
    foreign = started(other, ECHO)[0]
    beside = GoingRun(run.person)
    part = as_run(run, started(run, ECHO)[0])
    inner = started(part, ECHO)[0]
    # When it asks for them, and for its own task, then there is no such thing
    for each in (foreign, beside.task["id"], started(beside, ECHO)[0], inner, run.task["id"], "nothing"):
        assert_problem(run.get(f"/run/tasks/{each}"), 404, "no_such_task")


def test_a_cancelled_run_takes_them_along(run):
    [task] = started(run, ECHO)
    assert run.person.request("POST", f"/api/events/{run.task['id']}/cancel").status_code == 200
    assert event(run, task)["state"] == "cancelled"
    assert_problem(run.post("/run/tasks", {"tasks": [ECHO]}), 401, "invalid_token")


def test_they_go_on_without_the_run(run):
    [task] = started(run, ECHO)
    run.end()
    assert event(run, task)["state"] == "accepted"
    assert_problem(run.get(f"/run/tasks/{task}"), 401, "invalid_token")
