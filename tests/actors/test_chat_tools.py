"""A model calls tools: each call once, within what the user of the conversation has set."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from lightning.errors import Permanent, Transient
from lightning.events import Draft, now_text
from lightning.ids import turn_id
from lightning.llm import ToolCall
from lightning.log import wakeup
from tests.actors.conversing import FREELY, World, call, change


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path)
    yield made
    await made.close()


class TestImmediate:
    async def test_a_model_reads_searches_and_lists_and_then_answers(self, world):
        await world.converse()
        world.model.script = [
            [call("list_files"), call("read_file", path="a.txt")],
            [call("search_files", pattern="two")],
            "There are two lines.",
        ]
        await world.say("What is in it?")
        # Then each result stands behind its call, in the order of the calls
        assert world.told() == ["a.txt (file, 8 bytes)", "one\ntwo\n", "a.txt:2: two"]
        roles = [message.role for message in world.model.shown[-1]]
        assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool"]
        # And the answer tells what the whole turn has cost
        [response] = await world.responses()
        assert response["content"] == "There are two lines."
        assert response["usage"] == {"prompt_tokens": 30, "completion_tokens": 15, "total_tokens": 45}

    async def test_what_it_writes_is_one_commit_with_the_message_behind_it(self, world):
        await world.converse()
        files = [{"path": "b.txt", "content": "new"}, {"path": "a.txt", "content": None}]
        world.model.script = [[call("write_files", files=files, message="Move it")], "It is moved."]
        event = await world.say()
        commit, _ = await world.commits()
        assert (commit.message.splitlines()[0], commit.event, commit.author) == ("Move it", event, "chat")
        assert commit.id in world.told()[0]

    async def test_a_message_and_a_schedule(self, world):
        await world.converse()
        later = call("schedule", content="Wake up", cron="0 9 * * *", to="conversation")
        world.model.script = [[call("send_message", content="Hello"), later], "Done."]
        event = await world.say()
        [message] = await world.events("user.message")
        assert (message["metadata"], message["cause"]) == ({"content": "Hello"}, event)
        [schedule], _ = await world.tools.parts.schedules.of("anna", limit=10)
        assert (schedule.event.type, schedule.when.cron) == ("llm.chat", "0 9 * * *")
        assert schedule.event.metadata == {"content": "Wake up", "conversationID": "c"}

    async def test_what_is_scheduled_for_soon_waits_for_no_clock(self, world):
        await world.converse()
        soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
        world.model.script = [[call("schedule", content="Tea", timestamp=soon)], "In ten seconds."]
        await world.say()
        [tick] = await world.events("schedule.tick")
        assert tick["state"] == "accepted"

    async def test_what_it_did_is_shown_with_the_next_message(self, world):
        await world.converse()
        world.model.script = [[call("read_file", path="a.txt")], "Two lines.", "Yes."]
        await world.say("Read it")
        await world.say("Sure?")
        shown = [(message.role, message.content) for message in world.model.shown[-1]]
        assert shown == [
            ("user", "Read it"),
            ("assistant", ""),
            ("tool", "one\ntwo\n"),
            ("assistant", "Two lines."),
            ("user", "Sure?"),
        ]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (ToolCall("1", "format_disk", "{}"), "there is no tool"),
            (ToolCall("1", "read_file", "{"), "cannot be read"),
            (call("read_file"), "/path"),
            (call("read_file", path="nothing.txt"), "no"),
            (call("read_file", path="../../etc/passwd"), "Error"),
            (call("write_files", files=[], message="m"), "/files"),
            (call("schedule", content="x", cron="never"), "Error"),
            (call("schedule", content="x", timestamp="2001-01-01T00:00:00Z"), "never fire"),
            (
                call(
                    "schedule", content="x", timestamp="9999-12-31T23:59:59Z", timezone="Pacific/Kiritimati"
                ),
                "an example",
            ),
        ],
    )
    async def test_what_cannot_be_done_is_told_to_the_model(self, world, asked, said):
        await world.converse()
        world.model.script = [[asked], "I see."]
        await world.say()
        [told] = world.told()
        assert told.startswith("Error: ")
        assert said in told
        assert [each["content"] for each in await world.responses()] == ["I see."]

    async def test_a_turn_has_an_end(self, world, tmp_path):
        # Given a model that never stops calling
        limited = World(tmp_path / "limited", replies=3)
        await limited.converse()
        limited.model.script = [[call("list_runs", id=str(n))] for n in range(9)]
        await limited.say()
        # Then its last reply may call nothing, and is the answer
        assert [options and options.tool_choice for options in limited.model.options] == [None, None, "none"]
        assert "ended after 3 replies" in (await limited.responses())[0]["content"]
        await limited.close()

    async def test_results_and_calls_are_bounded(self, world):
        await world.converse()
        [known] = await world.repositories.of("anna")
        await world.repository(known).commit([change("big.txt", "x" * 200_000)], message="m", author="anna")
        reads = [call("read_file", id=str(n), path="big.txt") for n in range(20)]
        world.model.script = [reads, "Too much."]
        await world.say()
        told = world.told()
        assert len(told) == 17
        assert "at most 16 calls" in told[-1]
        # they share half of what a model of an unknown window is shown
        assert sum(map(len, told)) < 20_000


class TestWithoutTools:
    @pytest.mark.parametrize("properties", [{"tools": []}, {}])
    async def test_a_conversation_has_none_unless_its_user_says_so(self, world, properties):
        await world.conversations.create("anna", "c", properties)
        world.model.script = [[call("send_message", content="x")]]
        await world.say()
        assert world.model.offered == [[]]
        assert await world.events("user.message") == []

    async def test_without_a_repository_no_tool_of_one_is_offered(self, world):
        await world.converse(repo=False)
        await world.say()
        assert world.model.offered == [["run_agent", "run_agents", "list_runs", "send_message", "schedule"]]


class TestRuns:
    async def test_a_turn_closes_and_goes_on_when_all_results_have_come(self, world):
        await world.converse(network="none")
        world.model.script = [
            [call("run_agent", agent="echo", input="one"), call("run_agent", agent="echo", input="two")],
            "Both are done.",
        ]
        event = await world.say("Run two")
        # Then the turn is over, with a word of what it waits for, and two tasks follow from it
        tasks = await world.events("worker.task")
        assert [task["cause"] for task in tasks] == [event, event]
        assert (await world.log.get("anna", event))["state"] == "done"
        [first] = await world.responses()
        assert [each["eventID"] for each in first["waitsFor"]] == [task["id"] for task in tasks]
        assert "under way" in first["content"]
        # When one of them has ended
        await world.end(tasks[1], "the second")
        # Then the model is not asked
        assert len(world.model.shown) == 1
        # When the other one has, too
        await world.end(tasks[0], "the first")
        # Then it is, with each result behind its call
        assert len(world.model.shown) == 2
        assert ["the first" in world.told()[0], "the second" in world.told()[1]] == [True, True]
        assert [each["content"] for each in await world.responses()][1:] == ["Both are done."]

    async def test_runs_that_belong_together_are_one_group_within_what_the_conversation_has(self, world):
        # Given a conversation whose runs may spend and reach little
        await world.converse(network="none", budget={"tokens": 100})
        undo = {"agent": "echo", "input": "undo", "onRepository": True}
        agents = [
            {"name": "deploy", "agent": "echo", "input": 1, "onRepository": True, "undo": undo},
            {"name": "announce", "agent": "echo"},
        ]
        world.model.script = [[call("run_agents", agents=agents)], "It was taken back."]
        # When its model has several run
        event = await world.say("Deploy")
        # Then one group follows, and none of its tasks may do more
        [group] = await world.events("worker.group")
        assert (group["cause"], group["metadata"]["budget"]) == (event, {"tokens": 100})
        [deploy, announce] = group["metadata"]["tasks"]
        assert [each["network"] for each in (deploy, announce, deploy["rollback"])] == ["none"] * 3
        assert (deploy["name"], announce["name"]) == ("deploy", "announce")
        assert deploy["repo"] == deploy["rollback"]["repo"]
        assert "repo" not in announce
        # When the group has ended
        await world.end(group, "undone: deploy", status="failed")
        # Then the model goes on with its result
        assert "undone: deploy" in world.told()[0]
        assert (await world.responses())[-1]["content"] == "It was taken back."

    @pytest.mark.parametrize(
        ("agents", "said"),
        [
            ([{"name": "a", "agent": "echo"}], "at least 2"),
            ([{"name": "a", "agent": "echo"}, {"name": "a", "agent": "echo"}], "one name"),
            ([{"name": "a", "agent": "echo", "network": "full"}, {"name": "b", "agent": "echo"}], "network"),
            ([{"name": n, "agent": "echo", "undo": {"agent": "x", "budget": {}}} for n in "ab"], "budget"),
            ([{"name": n, "agent": "echo", "onRepository": True} for n in "ab"], "no repository"),
        ],
    )
    async def test_a_group_that_cannot_be_had_is_told_to_the_model(self, world, agents, said):
        await world.converse(repo=False)
        world.model.script = [[call("run_agents", agents=agents)], "Not so."]
        await world.say()
        assert said in world.told()[0]
        assert not await world.events("worker.group", "worker.task")

    async def test_meanwhile_the_model_sees_that_it_is_still_running(self, world):
        await world.converse()
        world.model.script = [[call("run_agent", agent="echo")], "It is not done yet.", "Now it is."]
        await world.say("Run it")
        await world.say("Well?")
        assert world.told() == ["It is still running; its result comes later."]
        [task] = await world.events("worker.task")
        await world.end(task, "a result")
        assert "a result" in world.told()[0]
        assert [message.role for message in world.model.shown[-1]] == [
            *("user", "assistant", "tool"),
            *("user", "assistant"),
            "user",
        ]

    async def test_results_that_come_together_are_both_counted(self, world):
        await world.converse()
        calls = [call("run_agent", id=str(n), agent="echo") for n in range(6)]
        world.model.script = [calls, "All."]
        await world.say()
        # Given results that several workers have at the same time
        messages = []
        for task in await world.events("worker.task"):
            claim = await world.log.claim("anna", task["id"], 0, "runner", 10)
            result = {"taskID": task["id"], "runID": "r", "status": "succeeded", "message": ""}
            draft = Draft(f"r-{task['id']}", "worker.task.result", "x", result, now_text(), {})
            messages += [wakeup(each) for each in await world.log.end(claim, "done", outputs=[draft])]
        await asyncio.gather(*(world.step.run(message) for message in messages))
        # When those look again that were not first
        async with asyncio.timeout(60):
            while len(await world.responses()) < 2:
                await world.work()
                await asyncio.sleep(0.05)
        # Then the model was asked once more, and no more
        assert len(world.model.shown) == 2
        assert len(await world.events("llm.chat.continued")) == 1

    async def test_a_result_that_was_handled_is_not_handled_again(self, world):
        await world.converse()
        world.model.script = [[call("run_agent", agent="echo")], "Done."]
        await world.say()
        [task] = await world.events("worker.task")
        await world.end(task)
        [result] = await world.events("worker.task.result")
        await world.step.run(wakeup(result))
        assert len(await world.events("llm.chat.continued")) == 1

    async def test_the_next_message_need_not_wait_and_a_continued_turn_may_run_again(self, world):
        await world.converse()
        world.model.script = [
            [call("run_agent", agent="echo", input=1)],
            [call("run_agent", agent="echo", input=2)],
            "Both are done.",
        ]
        event = await world.say()
        await world.end((await world.events("worker.task"))[0], "one")
        await world.end((await world.events("worker.task"))[1], "two")
        assert (await world.responses())[-1]["content"] == "Both are done."
        assert ["one" in world.told()[0], "two" in world.told()[1]] == [True, True]
        turns = await world.tools.turns.of("anna", event)
        assert [turn.document["number"] for turn in turns] == [0, 1]

    async def test_a_cancelled_turn_does_not_go_on(self, world):
        await world.converse()
        world.model.script = [[call("run_agent", agent="echo")]]
        event = await world.say()
        _, follow = await world.log.interventions.cancel("anna", event)
        await world.dispatch.announce([wakeup(each) for each in follow])
        await world.work()
        assert await world.events("llm.chat.continued") == []
        turn = await world.tools.turns.find("anna", turn_id(event, 0))
        assert turn.document["outstanding"] == []

    async def test_what_was_said_is_forgotten_with_the_conversation(self, world):
        await world.converse()
        world.model.script = [[call("read_file", path="a.txt"), call("run_agent", agent="echo")]]
        event = await world.say()
        await world.conversations.delete("anna", "c")
        deletion = (await world.conversations._stored("anna", "c")).body
        await world.conversations.erase("anna", "c", deletion["createdAt"])
        assert await world.tools.turns.of("anna", event) == []
        # and its result is nobody's
        [task] = await world.events("worker.task")
        await world.end(task)
        assert await world.events("llm.chat.continued") == []


class TestScope:
    async def test_a_run_gets_what_the_conversation_has_and_nothing_that_a_model_wants(self, world):
        await world.converse(network="none", budget={"tokens": 1000})
        world.model.script = [
            [call("run_agent", agent="echo", network="full", budget={"tokens": 10**9})],
            [call("run_agent", agent="echo", onRepository=True)],
        ]
        await world.say()
        assert "/network" in world.told(1)[0] or "/budget" in world.told(1)[0]
        [task] = await world.events("worker.task")
        assert task["metadata"]["network"] == "none"
        assert task["metadata"]["budget"] == {"tokens": 1000}
        [known] = await world.repositories.of("anna")
        assert task["metadata"]["repo"] == known.id

    async def test_no_argument_names_another_repository(self, world):
        await world.converse()
        other = await world.repositories.create("anna", "secret")
        await world.repository(other).commit([change("s.txt", "secret")], message="m", author="anna")
        world.model.script = [
            [call("read_file", path="s.txt", repo="secret"), call("read_file", path="s.txt")]
        ]
        await world.say()
        assert all(told.startswith("Error: ") and "secret" not in told for told in world.told())

    async def test_a_tool_that_was_taken_away_is_not_called_any_more(self, world):
        await world.converse()
        world.model.script = [[call("read_file", path="a.txt")], [call("read_file", path="a.txt")]]
        await world.say()
        await world.conversations.change("anna", "c", {"tools": [FREELY[0]]})
        await world.say()
        assert world.model.offered[-1] == ["list_files"]


class TestFailures:
    async def test_a_model_that_fails_later_has_nothing_done_twice(self, world):
        await world.converse()
        wants = [call("send_message", content="Hello"), call("list_runs")]
        world.model.script = [wants, Transient("busy", retry_after=0.1), "Done."]
        await world.say()
        async with asyncio.timeout(60):
            while not await world.responses():
                await world.work()
                await asyncio.sleep(0.05)
        # Then the first reply was not asked for again, and what it called was called once
        assert [len(shown) for shown in world.model.shown] == [1, 4, 4]
        assert len(await world.events("user.message")) == 1

    async def test_what_the_model_was_told_is_sent_is_sent_though_it_never_answers(self, world):
        await world.converse()
        world.model.script = [[call("send_message", content="Hello")], Permanent("no credit")]
        event = await world.say()
        assert (await world.log.get("anna", event))["state"] == "dead"
        assert len(await world.events("user.message")) == 1
        assert (await world.responses())[0]["error"]["message"] == "no credit"

    async def test_a_result_whose_message_is_given_up_is_told_to_the_model_once(self, world):
        # Given a turn that waits for a run, and a broker that gives up the message of its result
        await world.converse()
        world.model.script = [[call("run_agent", agent="echo", input="x")], "Done."]
        await world.say()
        [task] = await world.events("worker.task")
        [message] = await world.ended(task, "its result")
        await world.step.bury(message, Permanent("given up", code="delivery_failed"))
        await world.work()
        # Then the result is dead, and the model has it all the same, and goes on
        [result] = await world.events("worker.task.result")
        assert result["state"] == "dead"
        assert "its result" in world.told()[0]
        assert (await world.responses())[-1]["content"] == "Done."
        # When an operator has the result worked on again
        before = (len(world.model.shown), len(await world.events()))
        await world.dispatch.replay("anna", result["id"])
        await world.work()
        # Then it ends, and the model is not asked again
        assert (await world.log.get("anna", result["id"]))["state"] == "done"
        assert (len(world.model.shown), len(await world.events())) == before
