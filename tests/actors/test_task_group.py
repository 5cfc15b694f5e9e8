"""Groups in a real sandbox: whatever dies, each task starts once, and what was done is undone in order."""

from collections import Counter
from itertools import pairwise

import pytest

from lightning.domain.budgets import Limits
from lightning.errors import Permanent
from lightning.events import Draft, now_text
from lightning.groups import member_id, undo_output
from lightning.ids import derived_id
from lightning.log import wakeups
from lightning.tasks import ROLLBACK
from tests.actors.tasks import OFFLINE, SLEEPER, Dying, Installation, Killed

pytestmark = pytest.mark.timeout(240)

UNDO = {"rollback": {"agent": "echo", "input": "undo", **OFFLINE}}

#: It begins, and fails.
FAILING = {"agent": "reader", "input": ["/no/such/file"]}


class DyingOften:
    """Kills the process at each point, every so many times that it comes there."""

    def __init__(self, every):
        self._every = every
        self._reached = Counter()
        self.deaths = set()

    def __call__(self, reached):
        self._reached[reached] += 1
        if self._reached[reached] % self._every == 0:
            self.deaths.add(reached)
            raise Killed(reached)


@pytest.fixture
async def open_at(tmp_path):
    """Open installations on one data directory, as one process after another does."""
    opened = []

    def make(**options):
        opened.append(Installation(tmp_path, **options))
        return opened[-1]

    yield make
    for each in opened:
        for name in await each.containers():
            await each.runner.remove(name)
        await each.storage.close()


async def group_result(running, group):
    found = [each for each in await running.events() if each["type"] == "worker.group.result"]
    [result] = [each for each in found if each["cause"] == group]
    return result["metadata"]


async def stretches(running, ids):
    """Give for each task the place in the log where it begins, and where its result stands."""
    events = await running.events()
    begins = {each["id"]: each["seq"] for each in events}
    ends = {each["cause"]: each["seq"] for each in events if each["type"] == "worker.task.result"}
    return [(begins[each], ends[each]) for each in ids]


def follow_one_another(places):
    return all(one[1] < other[0] for one, other in pairwise(places))


async def test_tasks_are_joined_and_no_more_go_on_than_was_said(open_at):
    # Given three tasks, of which one may go on at a time, and what follows their success
    running = open_at()
    told = [{"type": "user.message", "metadata": {"content": "well done"}}]
    group = await running.post_group(
        {"name": "one", "input": 1}, {"input": 2}, {"input": 3}, atMost=1, onSuccess=told
    )
    # When all is over
    await running.over(group)
    # Then one result tells of all of them, in their order
    result = await group_result(running, group)
    assert (result["status"], result["groupID"]) == ("succeeded", group)
    assert [each["name"] for each in result["results"]] == ["one", "task-2", "task-3"]
    assert {each["status"] for each in result["results"]} == {"succeeded"}
    # And they went on one after another, each from the group
    ids = [each["taskID"] for each in result["results"]]
    assert ids == [member_id(group, place) for place in range(3)]
    assert follow_one_another(await stretches(running, ids))
    event = await running.log.get("anna", group)
    assert event["state"] == "done"
    assert set(ids) < set(event["outputs"])
    assert [each["cause"] for each in await running.events() if each["type"] == "user.message"] == [group]
    # And it was looked at when something ended, and not otherwise
    assert event["claims"] <= 4
    assert len(running.runner.began) == 3


async def test_what_runs_said_came_of_them_is_in_the_result(open_at):
    running = open_at()
    group = await running.post_group({"name": "small"}, {"name": "large"})

    async def begun():
        return await running.log.get("anna", member_id(group, 1)) is not None

    await running.deliver(begun)
    for place, said in enumerate([{"files": 12}, "x" * 9000]):
        task = await running.log.get("anna", member_id(group, place))
        await running.reports.result((await running.runs.open(task)).document, said, None)
    await running.over(group)
    small, large = (await group_result(running, group))["results"]
    assert (small["result"], small["resultOmitted"]) == ({"files": 12}, False)
    assert ("result" in large, large["resultOmitted"]) == (False, True)


SEQUENCE = [
    {"name": "a", **UNDO},
    {"name": "b"},
    {"name": "c", **UNDO},
    {"name": "d", **FAILING, **UNDO},
    {"name": "e"},
]


async def check_undone(running, group):
    """Check that of a sequence, all was undone that could be, one after another, the last first."""
    result = await group_result(running, group)
    statuses = {each["name"]: each["status"] for each in result["results"]}
    assert statuses == {
        "a": "succeeded",
        "b": "succeeded",
        "c": "succeeded",
        "d": "failed",
        "e": "not_started",
    }
    assert result["status"] == "failed"
    undone = [
        derived_id(member_id(group, 3), ROLLBACK),  # by the task runner, as of any task that fails
        derived_id(group, undo_output(2)),
        derived_id(group, undo_output(0)),
    ]
    assert follow_one_another(await stretches(running, undone))
    told = {each["name"]: (each.get("rollbackID"), each.get("rollback")) for each in result["results"]}
    assert told["d"] == (undone[0], "succeeded")
    assert told["c"] == (undone[1], "succeeded")
    assert told["a"] == (undone[2], "succeeded")
    assert told["b"] == told["e"] == (None, None)
    for said in ("d failed: ", "Not started: e.", "Undone: a, c, d.", "has no rollback: b."):
        assert said in result["message"]


async def test_a_failure_undoes_what_was_done_the_last_first(open_at):
    # Given five tasks, one after another, of which the fourth fails
    running = open_at()
    told = [{"type": "user.message", "metadata": {"content": "a pity"}}]
    group = await running.post_group(*SEQUENCE, atMost=1, onFailure=told)
    # When all is over
    await running.over(group)
    # Then what was done is undone, and what the user wanted follows
    await check_undone(running, group)
    assert [each["cause"] for each in await running.events() if each["type"] == "user.message"] == [group]
    assert len(running.runner.began) == 4 + 3


async def test_whatever_dies_nothing_is_started_or_undone_twice(open_at):
    # Given workers that die again and again, at whatever point
    running = open_at(crash=DyingOften(every=4), attempts=100)
    running.sweeps = True
    group = await running.post_group(*SEQUENCE, atMost=1)
    # When others go on
    await running.over(group)
    # Then they died often, and yet each container began once, in the order that is promised
    assert {"step:claimed", "step:handled", "step:committed", "step:sent"} <= running.crash.deaths
    await check_undone(running, group)
    assert len(running.runner.began) == 4 + 3


@pytest.mark.parametrize("point", [None, "group:cancelled", "run:halted"])
async def test_those_that_go_on_are_cancelled_and_undone_first(open_at, point):
    # Given a task that is done, one that goes on, and one that fails meanwhile, and a worker that may die
    running = open_at(crash=Dying(point))
    done = {"name": "done", **UNDO}
    group = await running.post_group(done, {"name": "going", **SLEEPER, **UNDO}, FAILING, atMost=2)
    # When all is over
    await running.over(group)
    # Then the one that went on was stopped and undone before the one that was done
    assert running.crash.point is None
    result = await group_result(running, group)
    statuses = {each["name"]: each["status"] for each in result["results"]}
    assert statuses == {"done": "succeeded", "going": "cancelled", "task-3": "failed"}
    undone = [derived_id(member_id(group, 1), ROLLBACK), derived_id(group, undo_output(0))]
    assert follow_one_another(await stretches(running, undone))
    assert [each.get("rollbackID") for each in result["results"][:2]] == undone[::-1]
    assert "Cancelled: going." in result["message"]
    assert len(running.runner.began) == 3 + 2
    assert await running.containers() == []
    # And its result says why
    assert "Another task of its group" in (await running.result(member_id(group, 1)))["message"]


async def test_those_that_go_on_may_come_to_their_end(open_at):
    running = open_at()
    asked = {"atMost": 2, "cancelOthers": False}
    sleepy = {"agent": "sleeper", "timeoutSeconds": 2}
    group = await running.post_group(sleepy, FAILING, {"name": "after"}, **asked)
    await running.over(group)
    result = await group_result(running, group)
    assert [each["status"] for each in result["results"]] == ["timed_out", "failed", "not_started"]
    assert "task-2 failed" in result["message"]


async def test_what_cannot_be_undone_is_told_and_holds_up_nothing(open_at):
    running = open_at()
    broken = {"name": "broken", "rollback": {**FAILING, **OFFLINE}}
    group = await running.post_group({"name": "first", **UNDO}, broken, FAILING, atMost=1)
    await running.over(group)
    result = await group_result(running, group)
    assert [each.get("rollback") for each in result["results"]] == ["succeeded", "failed", None]
    assert "Could not be undone: broken." in result["message"]
    assert "Undone: first." in result["message"]


async def test_a_group_that_is_cancelled_stops_its_tasks(open_at):
    # Given a group with one task done, one that goes on, and one to come
    running = open_at()
    group = await running.post_group(
        {"name": "done"}, {"name": "going", **SLEEPER}, {"name": "next"}, atMost=1
    )
    going = member_id(group, 1)

    async def begun():
        run = await running.runs.of_task("anna", going)
        return run is not None and run.document["startedAt"] is not None

    await running.deliver(begun)
    # When it is cancelled
    await running.dispatch.cancel("anna", group)
    await running.over(group)
    # Then its one result tells what became of each, and nothing goes on
    result = await group_result(running, group)
    assert result["status"] == "cancelled"
    assert [each["status"] for each in result["results"]] == ["succeeded", "cancelled", "not_started"]
    assert (await running.log.get("anna", group))["state"] == "cancelled"
    assert (await running.result(going))["status"] == "cancelled"

    async def gone():
        return await running.containers() == []

    await running.deliver(gone)


async def test_only_the_branch_of_the_group_is_cancelled(open_at):
    # Given a group that follows from an event, and another task that follows from it too
    running = open_at()
    [root] = await running.log.append(
        "anna", [Draft("root", "user.message", "t", {"content": "x"}, "now", {})]
    )
    beside = Draft("beside", "worker.task", "t", {**SLEEPER, **OFFLINE}, now_text(), {})
    asked = {"tasks": [{**SLEEPER, **OFFLINE}, {**FAILING, **OFFLINE}]}
    await running.dispatch.follow(root, beside)
    await running.dispatch.follow(root, Draft("group", "worker.group", "t", asked, now_text(), {}))

    async def over():
        return (await running.log.get("anna", "group"))["state"] == "done"

    # When it fails
    await running.deliver(over)
    # Then its own task was cancelled, and the other one goes on
    assert [each["status"] for each in (await group_result(running, "group"))["results"]] == [
        "cancelled",
        "failed",
    ]
    assert (await running.log.get("anna", "beside"))["state"] == "accepted"


async def test_a_group_that_is_given_up_takes_its_tasks_along(open_at):
    # Given a group of which, once its tasks go on, the platform cannot tell any more where it stands
    running = open_at()
    told = [{"type": "user.message", "metadata": {"content": "a pity"}}]
    asked = {"budget": {"tokens": 10}, "onFailure": told}
    group = await running.post_group({"name": "going", **SLEEPER}, {"name": "quick"}, **asked)
    looks, open_budget = [], running.budgets.open

    async def refuse_later(event, limits=None):
        if event["id"] == group:
            looks.append(event)
            if len(looks) > 1:
                raise Permanent("no answer that makes sense", code="store_broken")
        return await open_budget(event, limits)

    running.budgets.open = refuse_later
    # When it is given up
    await running.over(group)
    # Then its result says so, what was to follow does, and its tasks are stopped
    result = await group_result(running, group)
    assert (result["status"], result["error"]["code"]) == ("failed", "store_broken")
    assert [each["status"] for each in result["results"]] == ["cancelled", "succeeded"]
    assert (await running.log.get("anna", group))["state"] == "dead"
    assert (await running.log.get("anna", member_id(group, 0)))["state"] == "cancelled"
    assert len([each for each in await running.events() if each["type"] == "user.message"]) == 1

    async def gone():
        return await running.containers() == []

    await running.deliver(gone)


async def test_a_lost_queue_loses_no_group(open_at):
    # Given a group whose every message is lost when its first task is over
    running = open_at()
    group = await running.post_group({"input": 1}, {"input": 2}, atMost=1)

    async def first_is_over():
        found = await running.log.get("anna", member_id(group, 0))
        return found is not None and found["state"] == "done"

    await running.deliver(first_is_over)
    running.queue.take()
    # When the sweep announces what is not over
    await running.dispatch.announce(wakeups(await running.events()))
    await running.over(group)
    # Then it comes to its end all the same
    assert (await group_result(running, group))["status"] == "succeeded"
    assert len(running.runner.began) == 2


async def test_a_budget_is_that_of_the_whole(open_at):
    # Given a group within a larger budget that brings its own, of which its tasks spend together
    running = open_at()
    [root] = await running.log.append(
        "anna", [Draft("root", "user.message", "t", {"content": "x"}, "now", {})]
    )
    await running.budgets.open(root, Limits(container_seconds=1000))
    tasks = [{**SLEEPER, **OFFLINE}, {**SLEEPER, **OFFLINE}]
    asked = {"tasks": tasks, "budget": {"containerSeconds": 2}, "cancelOthers": False}
    await running.dispatch.follow(root, Draft("group", "worker.group", "t", asked, now_text(), {}))

    async def over():
        return (await running.log.get("anna", "group"))["state"] == "done"

    await running.deliver(over)
    # Then its tasks were ended when they had spent it together
    result = await group_result(running, "group")
    assert [each["status"] for each in result["results"]] == ["failed", "failed"]
    assert "of what this task is a part of is spent" in result["results"][0]["message"]
