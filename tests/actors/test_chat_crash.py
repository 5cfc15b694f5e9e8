"""The process dies between a reply, an effect, its note and the end: nothing is done or asked for twice.

What was done is counted outside the log: commits in the repository, schedules in their container, events and
questions to the model.
"""

import time

import pytest

from lightning.domain.turns import name_of
from lightning.events import Draft, now_text
from lightning.log import wakeup, wakeups
from tests.actors.conversing import ScriptedModel, World, call, change
from tests.actors.tasks import Dying, Killed

CALLS = [
    call("write_files", files=[{"path": "b.txt", "content": "new"}], message="Write"),
    call("schedule", content="later", cron="@daily"),
    call("send_message", content="now"),
]

POINTS = ["turn:recorded", "turn:acted", "turn:noted", "step:handled", "step:committed"]


#: By then, every claim has run out.
LATER_SECONDS = 3600.0


class Nth(Dying):
    """Dies when a point is reached for the n-th time."""

    def __init__(self, point, times):
        super().__init__(point)
        self.times = times

    def __call__(self, reached):
        if reached == self.point:
            self.times -= 1
            if self.times == 0:
                super().__call__(reached)


async def begun_anew(data, died, *, model):
    """Let another process find what the one that died has left, as the sweep does."""
    await died.close()
    made = World(data, model=model, clock=lambda: time.time() + LATER_SECONDS)
    page = [*(await made.log.overdue.overlooked(100)).items, *(await made.log.overdue.lapsed(100)).items]
    for stored in page:
        event = await made.log.overdue.sweep(stored)
        await made.dispatch.announce(wakeups([event]))
    await made.work()
    return made


async def said(world):
    draft = Draft("m", "llm.chat", "test", {"content": "Go", "conversationID": "c"}, now_text(), {})
    [event] = await world.log.append("anna", [draft])
    return event


@pytest.mark.parametrize(
    ("point", "times"),
    [*((point, 1) for point in POINTS), ("turn:acted", 2), ("turn:acted", 3), ("turn:noted", 3)],
)
async def test_each_effect_is_there_once(tmp_path, point, times):
    # Given a process that dies at a point of a turn
    model = ScriptedModel()
    died = World(tmp_path, crash=Nth(point, times), model=model)
    await died.converse()
    model.script = [CALLS, "Done."]
    with pytest.raises(Killed):
        await died.step.run(wakeup(await said(died)))
    # When another one goes on
    world = await begun_anew(tmp_path, died, model=model)
    # Then everything is there once
    commits = [commit.message.splitlines()[0] for commit in await world.commits()]
    [schedule], _ = await world.tools.parts.schedules.of("anna", limit=10)
    [message] = await world.events("user.message")
    assert (commits, schedule.event.metadata, message["metadata"]) == (
        ["Write", "begin"],
        {"content": "later"},
        {"content": "now"},
    )
    assert [each["content"] for each in await world.responses()] == ["Done."]
    # and the first reply was asked for once; the second again only if it was not committed
    assert [len(shown) for shown in model.shown][:2] == [1, 5]
    assert len(model.shown) == (3 if point == "step:handled" else 2)
    await world.close()


@pytest.mark.parametrize("point", ["turn:recorded", "turn:noted", "step:handled", "step:committed"])
async def test_each_run_is_asked_for_once(tmp_path, point):
    model = ScriptedModel()
    died = World(tmp_path, crash=Dying(point), model=model)
    await died.converse()
    model.script = [[call("run_agent", id=str(n), agent="echo") for n in range(3)], "Done."]
    with pytest.raises(Killed):
        await died.step.run(wakeup(await said(died)))
    world = await begun_anew(tmp_path, died, model=model)
    tasks = await world.events("worker.task")
    assert (len(tasks), len(model.shown)) == (3, 1)
    [turn] = await world.tools.turns.of("anna", "m")
    assert [name_of(turn.document, place) for place in turn.document["outstanding"]] == ["0.0", "0.1", "0.2"]
    await world.close()


@pytest.mark.parametrize("point", ["step:claimed", "step:handled", "step:committed"])
async def test_a_result_is_counted_once(tmp_path, point):
    # Given a run whose result comes to a process that dies
    model = ScriptedModel()
    world = World(tmp_path, model=model)
    await world.converse()
    model.script = [[call("run_agent", agent="echo")], "Done."]
    await world.say()
    [task] = await world.events("worker.task")
    world.crash.point = point
    with pytest.raises(Killed):
        await world.end(task, "x")
    # When another one goes on
    again = await begun_anew(tmp_path, world, model=model)
    # Then the model went on once
    assert (len(model.shown), len(await again.events("llm.chat.continued"))) == (2, 1)
    assert (await again.responses())[-1]["content"] == "Done."
    await again.close()


@pytest.mark.parametrize("point", ["step:claimed", "step:handled", "step:committed"])
async def test_what_was_approved_is_done_once(tmp_path, point):
    model = ScriptedModel()
    world = World(tmp_path, model=model)
    await world.converse(tools=[{"name": "write_files", "approval": "always"}])
    model.script = [[CALLS[0]], "Done."]
    await world.say()
    [approval] = (await world.tools.approvals.newest("anna", limit=5)).approvals
    _, events = await world.tools.approvals.decide("anna", approval["id"], "approved", approval["hash"])
    world.crash.point = point
    with pytest.raises(Killed):
        await world.step.run(wakeup(events[0]))
    again = await begun_anew(tmp_path, world, model=model)
    assert [commit.message.splitlines()[0] for commit in await again.commits()] == ["Write", "begin"]
    assert (len(model.shown), len(await again.events("llm.chat.continued"))) == (2, 1)
    await again.close()


async def test_what_others_wrote_since_is_not_written_over(tmp_path):
    # Given a process that dies when it has made a commit, and has not noted it
    model = ScriptedModel()
    died = World(tmp_path, crash=Dying("turn:acted"), model=model)
    await died.converse()
    model.script = [[CALLS[0]], "Done."]
    with pytest.raises(Killed):
        await died.step.run(wakeup(await said(died)))
    # When a person changes the same file before another process goes on
    [known] = await died.repositories.of("anna")
    await died.repository(known).commit([change("b.txt", "mine")], message="Mine", author="anna")
    world = await begun_anew(tmp_path, died, model=model)
    # Then it stays as they wrote it
    assert [commit.message.splitlines()[0] for commit in await world.commits()] == ["Mine", "Write", "begin"]
    assert (await world.repository(known).read("b.txt")).data == b"mine"
    await world.close()
