"""Tasks in a real sandbox: whatever dies or goes wrong, a container starts once and there is one result."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from lightning.containers.unusable import UnusableRunner
from lightning.domain.budgets import Limits
from lightning.errors import Permanent, Transient
from lightning.ids import derived_id
from lightning.live import Notifier
from lightning.log import wakeups
from lightning.tasks import ROLLBACK
from tests.actors.tasks import OFFLINE, SLEEPER, Dying, Installation, Killed
from tests.lightning.live.test_notify import SECRET, receiving
from tests.memory_queue import Clock
from worker.orphans import UNKNOWN_SECONDS, Orphans

pytestmark = pytest.mark.timeout(180)


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


async def test_an_agent_gets_its_task_and_its_end_is_an_event(open_at):
    # Given a task for the echo, with a variable of its own
    running = open_at()
    task = await running.post(input={"text": "grüße", "none": None}, environment={"LC_ALL": "C.UTF-8"})
    # When it is worked on to its end
    await running.over(task)
    # Then its result repeats what it printed
    result = await running.result(task)
    assert (result["status"], result["exitCode"], result["taskID"]) == ("succeeded", 0, task)
    assert result["output"].endswith('{"text": "grüße", "none": null}\n')
    assert "echo" in result["output"]
    assert result["ranSeconds"] > 0
    # And nothing is left of its container, but its log is there
    assert await running.containers() == []
    run = await running.runs.find("anna", result["runID"])
    assert await running.runs.log(run, 0, 100_000) == result["output"]


async def test_what_a_run_says_came_of_it_is_in_its_result(open_at):
    # Given a task that has done nothing yet, and a run that says what came of it
    running = open_at()
    task = await running.post(input="hello")
    run = await running.runs.open(await running.log.get("anna", task))
    said = {"files": [12, None], "nothing": None}
    await running.reports.result(run.document, said, "12 files")
    # When it ends, then its result says so too
    await running.over(task)
    assert (await running.result(task))["result"] == said


@pytest.mark.parametrize(
    "point",
    [
        "step:claimed",
        "run:started",
        "run:recorded",
        "run:collected",
        "run:removed",
        "step:handled",
    ],
)
async def test_a_death_at_any_point_is_mended(open_at, point):
    # Given a worker that dies at a point, and another one after it
    running = open_at(crash=Dying(point))
    task = await running.post(input="hello")
    # When the message comes again
    await running.over(task)
    # Then the worker died, one container began, and there is one result
    assert running.crash.point is None
    assert len(running.runner.began) == 1
    result = await running.result(task)
    assert (result["status"], result["exitCode"]) == ("succeeded", 0)
    assert result["output"].count('"hello"') == 1
    assert await running.containers() == []


@pytest.mark.parametrize("point", ["began", "launched"])
async def test_a_launcher_that_dies_is_told(open_at, point):
    # Given a sandbox whose launcher dies before or while the command runs
    running = open_at(shim_dies_at=point)
    task = await running.post()
    # When the task is worked on, then its one result says so
    await running.over(task)
    result = await running.result(task)
    assert (result["status"], result["error"]["code"]) == ("failed", "launcher_lost")
    assert await running.containers() == []


async def test_a_launcher_that_dies_before_it_begins_is_replaced(open_at):
    # Given a sandbox whose launcher dies as soon as it has the run in hand
    dying = open_at(shim_dies_at="held")
    task = await dying.post()

    async def failed():
        return (await dying.log.get("anna", task))["error"] is not None

    await dying.deliver(failed)
    # When a worker whose sandbox works goes on
    working = open_at()
    working.queue.sent = dying.queue.take()
    await working.over(task)
    # Then the run was started after all
    assert (await working.result(task))["status"] == "succeeded"
    assert len(working.runner.began) == 1


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"agent": "nobody"}, "failed", "exit code 64"),
        ({"agent": "sleeper", "timeoutSeconds": 1}, "timed_out", "longer than 1 seconds"),
        ({"agent": "glutton"}, "out_of_memory", "memory"),
        ({"agent": None, "image": "no/such:1", "command": ["true"]}, "failed", "no image no/such:1"),
    ],
)
async def test_each_ending_is_one_result_that_says_so(open_at, change, status, words):
    # Given a task that ends badly
    running = open_at()
    # When it is worked on
    task = await running.post(**change)
    await running.over(task)
    # Then its one result says what happened, in a word and for a person
    result = await running.result(task)
    assert result["status"] == status
    assert words in result["message"]
    assert await running.containers() == []


async def test_a_cancelled_task_is_stopped_and_its_result_is_delivered(open_at):
    # Given a task whose command runs
    running = open_at()
    task = await running.post(**SLEEPER)
    await running.running(task)
    # When it is cancelled
    await running.dispatch.cancel("anna", task)
    await running.over(task)

    async def stopped():
        return await running.containers() == []

    await running.deliver(stopped)
    # Then there is one result, which came to people although its root is cancelled
    [result] = await running.results(task)
    assert (result["metadata"]["status"], result["state"]) == ("cancelled", "done")
    assert (await running.log.get("anna", task))["outputs"] == [result["id"]]
    run = await running.runs.of_task("anna", task)
    assert run.document["outcome"]["status"] == "cancelled"


async def test_a_container_that_vanishes_is_not_started_again(open_at):
    # Given a task whose command runs, and somebody who removes its container
    running = open_at()
    task = await running.post(**SLEEPER)
    await running.running(task)
    [container] = await running.containers()
    await running.runner.remove(container)
    # When the next look comes, then the result says so, and nothing was started anew
    await running.over(task)
    result = await running.result(task)
    assert (result["status"], result["error"]["code"]) == ("failed", "launcher_lost")
    assert len(running.runner.began) == 1


async def test_a_runner_that_is_full_costs_no_attempt(open_at):
    # Given a runner that is full twice as often as an event has attempts
    running = open_at()
    running.runner.refusals = [Transient("full", retry_after=0.01, code="runner_quota") for _ in range(10)]
    # When a task is worked on, then it runs in the end
    task = await running.post()
    await running.over(task)
    assert (await running.result(task))["status"] == "succeeded"


async def test_where_nothing_can_run_a_task_is_dead_and_says_what_to_do(open_at):
    # Given a machine without bubblewrap
    running = open_at()
    usable, running.task_runner._runner = (
        running.runner,
        UnusableRunner(Permanent("install bubblewrap", code="runner_unusable")),
    )
    task = await running.post()
    await running.over(task)
    # Then the event is dead, and its result says why
    event = await running.log.get("anna", task)
    assert (event["state"], event["error"]["code"]) == ("dead", "runner_unusable")
    assert (await running.result(task))["message"] == "install bubblewrap"
    # When that was done and the task is replayed, then it runs
    running.task_runner._runner = usable
    await running.dispatch.replay("anna", task)
    await running.over(task)
    assert [each["metadata"]["status"] for each in await running.results(task)] == ["failed", "succeeded"]


async def test_a_task_waits_while_others_take_all_room(open_at):
    # Given room for one run, which somebody's has
    running = open_at(room=1)
    first = await running.post(**SLEEPER)
    await running.running(first)
    # When another task comes, then it waits without an attempt
    second = await running.post()

    async def waits():
        event = await running.log.get("anna", second)
        return event["wake"] > 1 and event["attempts"] == 0

    await running.deliver(waits)
    assert len(running.runner.began) == 1
    # And when the room is free again, it runs
    await running.dispatch.cancel("anna", first)
    await running.over(first, second)
    assert (await running.result(second))["status"] == "succeeded"


async def test_tasks_that_are_taken_up_together_share_the_room(open_at):
    # Given room for four runs, and more tasks of one user than there is room, and then of another
    running = open_at(room=4)
    for user in ("anna", "bo"):
        for _ in range(6):
            await running.post(user=user, **SLEEPER)
    # When all of them are looked at in the same moment
    await asyncio.gather(*(running.step.run(message) for message in running.queue.take()))
    # Then the room is taken and no more, and of no user more than three quarters of it
    users = [each.tags["user"] async for each in running.runner.list()]
    assert len(users) == 4
    assert set(users) == {"anna", "bo"}
    # And the others wait without an attempt
    events = [*await running.events(), *await running.log.events("bo", limit=100)]
    runs = [await running.runs.of_task(each["userID"], each["id"]) for each in events]
    waiting = [
        each for each, run in zip(events, runs, strict=True) if run is None or not run.document["begun"]
    ]
    assert [each["attempts"] for each in waiting] == [0] * 8


async def test_a_start_that_fails_gives_its_room_back(open_at):
    # Given room for one run, and a task whose start is refused
    running = open_at(room=1)
    running.runner.refusals = [Transient("no quota", code="runner_quota")]
    await running.post(**SLEEPER)
    [message] = running.queue.take()
    await running.step.run(message)
    assert await running.containers() == []
    running.queue.take()
    # When another task comes, then it runs
    await running.running(await running.post(**SLEEPER))


async def test_the_sweep_removes_what_nobody_waits_for_and_nothing_else(open_at):
    # Given a container of a task that runs, one whose task was cancelled, and one that nobody knows
    running = open_at()
    task, cancelled = await running.post(**SLEEPER), await running.post(**SLEEPER)
    await running.running(task)
    await running.running(cancelled)
    running.queue.take()  # the queue is lost
    await running.dispatch.cancel("anna", cancelled)
    stranger = open_at(store="another")
    unknown = await stranger.post(**SLEEPER)
    await stranger.running(unknown)
    assert len(await running.containers()) == 3
    # When the clock looks, and again after a while
    clock = Clock()
    orphans = Orphans(running.runner, running.log, running.task_runner, clock=clock)
    assert await orphans.round() == 1
    clock.now += UNKNOWN_SECONDS
    assert await orphans.round() == 1
    assert await orphans.round() == 0
    # Then only the one that runs is left, and the cancelled run is written down as such
    run, gone = await running.runs.of_task("anna", task), await running.runs.of_task("anna", cancelled)
    assert await running.containers() == [run.name]
    assert gone.document["outcome"]["status"] == "cancelled"


#: A worker that stands still when it has read a run and is about to start its container.
STALLING = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.actors.tasks import Installation
from lightning.queue import Wakeup

async def main():
    stalled = Installation(Path(sys.argv[1]))
    start = stalled.runner.start

    async def stall(spec):
        print("stalled", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        await start(spec)

    stalled.runner.start = stall
    await stalled.step.run(Wakeup("anna", sys.argv[2], 0, "task_runner", sent_at=float(sys.argv[3])))
    await stalled.storage.close()

asyncio.run(main())
"""


async def test_a_worker_that_stalled_before_the_start_starts_no_second_container(open_at, tmp_path):
    # Given a worker that stalls as it is about to start a container
    running = open_at()
    task = await running.post()
    [message] = running.queue.take()
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STALLING, str(tmp_path), task, str(message.sent_at)),
        stdout=subprocess.PIPE,
    )
    try:
        assert await worker.stdout.readline() == b"stalled\n"
        # When another has run the task to its end and removed the container, and the first goes on
        await running.dispatch.announce([message])
        await running.over(task)
        assert await running.containers() == []
        worker.send_signal(signal.SIGCONT)
        await worker.communicate()
    finally:
        with suppress(ProcessLookupError):
            worker.kill()
    # Then it starts none: one began in all
    for name in await running.containers():
        await running.runner.status(name)
    assert len(running.runner.began) == 1
    assert len(await running.results(task)) == 1


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"containerSeconds": 0.5}, "containers ran"),
        ({"wallSeconds": 3}, "wall time"),
    ],
)
async def test_a_run_is_stopped_when_its_budget_is_spent(open_at, budget, words):
    # Given a task with a budget of time, whose command would run for long
    running = open_at()
    task = await running.post(**SLEEPER, budget=budget)
    # When it is worked on
    await running.over(task)
    # Then it was stopped in its middle, and its one result says why and what to do
    result = await running.result(task)
    assert (result["status"], result["error"]["code"]) == ("failed", "budget_exhausted")
    assert words in result["message"]
    assert "larger budget" in result["message"]
    assert await running.containers() == []


async def test_a_death_between_stop_and_record_says_the_same(open_at):
    # Given a worker that dies when it has stopped a run whose budget is spent
    running = open_at(crash=Dying())
    task = await running.post(**SLEEPER, budget={"containerSeconds": 0.5})
    stop = running.runner.stop

    async def stop_and_die(name):
        await stop(name)
        running.runner.stop = stop
        raise Killed("stopped")

    running.runner.stop = stop_and_die
    # When the message comes again, then the result says that the budget was spent
    await running.over(task)
    result = await running.result(task)
    assert (result["status"], result["error"]["code"]) == ("failed", "budget_exhausted")


async def test_a_task_whose_budget_is_spent_by_others_is_not_started(open_at):
    # Given a task whose budget was spent before it came to be started
    running = open_at()
    task = await running.post(budget={"containerSeconds": 5})
    event = await running.log.get("anna", task)
    await running.budgets.open(event, Limits(container_seconds=5))
    await running.budgets.ran({**event, "id": "another"}, "its start", 6)
    # When it is worked on, then nothing began
    await running.over(task)
    assert (await running.result(task))["error"]["code"] == "budget_exhausted"
    assert running.runner.began == set()


async def test_what_a_run_took_is_written_down(open_at):
    # Given a task with a budget that is enough
    running = open_at()
    task = await running.post(budget={"containerSeconds": 600})
    await running.over(task)
    # Then its seconds are in the ledger
    result = await running.result(task)
    ledger = await running.budgets.find("anna", task)
    assert result["status"] == "succeeded"
    assert ledger.container_seconds("*") == pytest.approx(result["ranSeconds"], abs=0.002)


def message(content):
    return {"type": "user.message", "metadata": {"content": content}}


FOLLOWED = {
    "onSuccess": [message("well done"), {"type": "worker.task", "metadata": {"agent": "nobody", **OFFLINE}}],
    "onFailure": [message("a pity")],
    "rollback": {"agent": "echo", "input": "undo", **OFFLINE},
}


async def following(running, task):
    """Give what follows from a task besides its result: types, with what they say."""
    found = [each for each in await running.events() if each["cause"] == task]
    said = {each["type"]: each["metadata"] for each in found if each["type"] != "worker.task.result"}
    assert {each["root"] for each in found} == {task}
    return {kind: each.get("content") or each.get("input") or each["agent"] for kind, each in said.items()}


@pytest.mark.parametrize("point", [None, "run:removed", "step:handled"])
async def test_what_a_user_wanted_follows_from_a_success_once(open_at, point):
    # Given a task that succeeds, and a worker that may die
    running = open_at(crash=Dying(point))
    task = await running.post(**FOLLOWED)
    # When it and all that follows from it is over
    await running.over(task)
    # Then what was to follow did, and nothing undid it
    assert await following(running, task) == {"user.message": "well done", "worker.task": "nobody"}
    assert "rollbackID" not in await running.result(task)
    assert len([each for each in await running.events() if each["type"] == "user.message"]) == 1


@pytest.mark.parametrize(
    ("change", "undone"),
    [
        ({"agent": "nobody"}, True),
        ({"agent": "sleeper", "timeoutSeconds": 1}, True),
        ({"agent": None, "image": "no/such:1", "command": ["true"]}, False),
    ],
)
async def test_a_failure_is_followed_and_undone_if_it_had_begun(open_at, change, undone):
    running = open_at()
    task = await running.post(**FOLLOWED, **change)
    await running.over(task)
    # Then what was to follow did; and what undoes it, only if there is something to undo
    expected = {"user.message": "a pity"} | ({"worker.task": "undo"} if undone else {})
    assert await following(running, task) == expected
    result = await running.result(task)
    [rollback] = [each for each in await running.events() if each["type"] == "worker.task"][1:] or [None]
    assert result.get("rollbackID") == (rollback["id"] if undone else None)


async def test_a_task_that_is_cancelled_is_undone_if_it_had_begun(open_at):
    # Given a task whose command runs, and one that waits for room
    running = open_at(room=1)
    task = await running.post(**FOLLOWED, **SLEEPER)
    await running.running(task)
    waiting = await running.post(**FOLLOWED, **SLEEPER)
    # When both are cancelled
    await running.dispatch.cancel("anna", waiting)
    await running.dispatch.cancel("anna", task)

    async def undone():
        found = [each for each in await running.events() if each["type"] == "worker.task"]
        return len(found) == 3 and all(each["state"] != "accepted" for each in found)

    await running.deliver(undone)
    # Then the one that had begun is undone, and nothing else follows from either
    assert await following(running, task) == {"worker.task": "undo"}
    assert await following(running, waiting) == {}
    event, result = await running.log.get("anna", task), await running.result(task)
    assert (result["status"], result["rollbackID"]) == ("cancelled", event["outputs"][-1])
    assert (await running.log.get("anna", result["rollbackID"]))["state"] == "done"
    # And when it is let go of once more, then it is not undone once more
    await running.task_runner.release(event)
    assert len([each for each in await running.events() if each["type"] == "worker.task"]) == 3


@pytest.mark.parametrize("point", ["run:halted", "run:followed", "run:let_go"])
async def test_a_cancelled_task_is_undone_although_worker_and_queue_are_lost(open_at, point):
    # Given a task whose command runs, is cancelled, and whose worker dies while it lets go of it
    dying = open_at(crash=Dying(point))
    task = await dying.post(**FOLLOWED, **SLEEPER)
    await dying.running(task)
    await dying.dispatch.cancel("anna", task)
    with pytest.raises(Killed):
        await dying.task_runner.release(await dying.log.get("anna", task))
    # When the queue is lost too, and the clock looks through the containers
    running = open_at()
    await Orphans(running.runner, running.log, running.task_runner).round()
    rollback = derived_id(task, ROLLBACK)
    await running.dispatch.announce(wakeups(await running.events()))  # as the sweep does
    await running.over(task)
    # Then it is undone, once, nothing is left of its container, and its result names what undid it
    tasks = [each["id"] for each in await running.events() if each["type"] == "worker.task"]
    assert tasks == [task, rollback]
    assert (await running.result(rollback))["status"] == "succeeded"
    assert (await running.result(task))["rollbackID"] == rollback
    assert await running.containers() == []


async def test_a_failure_that_is_cancelled_before_it_is_told_is_undone(open_at):
    # Given a task that is cancelled just when it has failed, and a worker that dies before it has told so
    dying = open_at(crash=Dying("step:handled"))
    task = await dying.post(**FOLLOWED, agent="nobody")
    status = dying.runner.status

    async def status_then_cancel(name):
        found = await status(name)
        if found.ended:
            dying.runner.status = status
            await dying.dispatch.cancel("anna", task)
        return found

    dying.runner.status = status_then_cancel
    with suppress(Killed):  # unless it renewed its claim just then, and let go of the run itself
        await dying.step.run(dying.queue.take()[0])
    # When the queue is lost too, and the clock looks through the containers
    running = open_at()
    await Orphans(running.runner, running.log, running.task_runner).round()
    # Then it is undone all the same
    rollback = derived_id(task, ROLLBACK)
    await running.dispatch.announce(wakeups(await running.events()))
    await running.over(task)
    assert (await running.result(rollback))["status"] == "succeeded"
    assert await running.containers() == []


@pytest.mark.parametrize("knows", [True, False])
async def test_a_task_that_died_after_it_began_is_stopped_and_undone(open_at, knows):
    # Given a task whose command runs, of which the platform then cannot tell what becomes
    running = open_at()
    task = await running.post(**FOLLOWED, **SLEEPER)
    await running.running(task)
    name = (await running.runs.of_task("anna", task)).name
    status, refusals = running.runner.status, [1] if knows else [1, 2]

    async def refuse(asked):
        if asked == name and refusals and refusals.pop():
            raise Permanent("no answer that makes sense", code="runner_broken")
        return await status(asked)

    running.runner.status = refuse
    # When it is given up
    await running.over(task)
    # Then what undoes it was started when its container had stopped, and the result names it
    result, event = await running.result(task), await running.log.get("anna", task)
    assert (event["state"], result["status"], result["error"]["code"]) == ("dead", "failed", "runner_broken")
    assert await following(running, task) == {"user.message": "a pity", "worker.task": "undo"}
    rollback = await running.log.get("anna", result["rollbackID"])
    assert rollback["state"] == "done"
    assert await running.containers() == []


async def test_a_task_that_died_before_it_began_is_not_undone(open_at):
    running = open_at()
    running.runner.refusals = [Permanent("no", code="runner_broken")]
    task = await running.post(**FOLLOWED)
    await running.over(task)
    assert "rollbackID" not in await running.result(task)
    assert await following(running, task) == {"user.message": "a pity"}


async def test_where_nothing_can_run_what_was_to_follow_does(open_at):
    running = open_at()
    running.task_runner._runner = UnusableRunner(Permanent("install bubblewrap", code="runner_unusable"))
    task = await running.post(**FOLLOWED)
    await running.over(task)
    assert await following(running, task) == {"user.message": "a pity"}


async def test_a_chat_that_its_conversation_does_not_take_keeps_nothing_else_back(open_at):
    # Given a conversation that is being deleted, and a task that a message in it is to follow from
    running = open_at()
    await running.delete_conversation("old")
    chat = {"type": "llm.chat", "metadata": {"content": "done?", "conversationID": "old"}}
    task = await running.post(onSuccess=[chat, message("well done")])
    # When the task succeeds, then its result and what else follows are there
    await running.over(task)
    assert (await running.result(task))["status"] == "succeeded"
    assert await following(running, task) == {"user.message": "well done"}


async def test_files_are_in_the_working_directory(open_at):
    # Given a task with files
    running = open_at()
    files = {"names.csv": "Ada\n", "deep/er/note.txt": "grüße"}
    task = await running.post(agent="reader", input=list(files), files=files)
    await running.over(task)
    # Then its command finds them where it starts
    assert (await running.result(task))["output"] == "Ada\ngrüße\n"


async def test_what_a_run_does_is_told_as_it_comes_and_before_its_result(open_at):
    # Given an installation that tells of what is new
    async with receiving() as receiver:
        notifier = Notifier(receiver.url, SECRET)
        running = open_at(notifier=notifier)
        # When a task runs that has said how far it has come
        task = await running.post(input="hello")
        run = await running.runs.open(await running.log.get("anna", task))
        await running.reports.progress(run.document, "half", 50)
        await running.over(task)
        await notifier.close()
        told = [json.loads(body) for _, body in receiver.requests]
    # Then it was told that it was starting, then running, and what it printed, from its beginning
    names = {"run": run.document["id"], "task": task}
    stages = [each for body in told for each in body.get("stages", {}).get("anna", [])]
    assert stages[-1] == {**names, "status": "running"}
    printed = [each for body in told for each in body.get("lines", {}).get("anna", [])]
    assert printed[0] == {**names, "offset": 0, "text": printed[0]["text"]}
    assert "".join(each["text"] for each in printed) == (await running.result(task))["output"]


async def test_progress_is_told_by_each_look(open_at):
    # Given a run under way
    async with receiving() as receiver:
        notifier = Notifier(receiver.url, SECRET)
        running = open_at(notifier=notifier)
        task = await running.post(**SLEEPER)
        await running.running(task)
        run = await running.runs.of_task("anna", task)
        # When it says how far it has come, at whatever ingress
        said = await running.reports.progress(run.document, "half", 50)

        async def told():
            bodies = [json.loads(body) for _, body in receiver.requests]
            return [each for body in bodies for each in body.get("progress", {}).get("anna", [])]

        # Then the next look tells it to all others
        await running.deliver(told)
        assert (await told())[0] == {"run": run.document["id"], "task": task, **said}
        await notifier.close()
