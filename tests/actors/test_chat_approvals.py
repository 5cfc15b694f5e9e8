"""A person agrees to one exact action; nothing is held meanwhile, and nothing else is done."""

import asyncio
import hashlib
import json
import time

import pytest

from lightning.errors import Conflict, NotFound, Permanent
from lightning.log import wakeup, wakeups
from tests.actors.conversing import World, call
from tests.lightning.repositories.git_server import GitServer

WRITE = call("write_files", files=[{"path": "b.txt", "content": "new"}], message="Write")


def asking(*names, policy="always"):
    return [{"name": name, "approval": policy} for name in names]


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path)
    yield made
    await made.close()


async def pending(world):
    return (await world.tools.approvals.newest("anna", pending=True, limit=50)).approvals


async def decide(world, approval, decision="approved"):
    found, events = await world.tools.approvals.decide("anna", approval["id"], decision, approval["hash"])
    await world.dispatch.announce(wakeups(events))
    await world.work()
    return found


async def ask(world, *calls, policy="always", then="Done."):
    """Have a model call what its user must agree to."""
    await world.converse(tools=asking(*(each.name for each in calls), policy=policy))
    world.model.script = [list(calls), then]
    event = await world.say("Do it")
    return event, (await world.tools.approvals.newest("anna", limit=50)).approvals


class TestDeciding:
    async def test_it_waits_holding_nothing_and_is_done_when_approved(self, world):
        event, [approval] = await ask(world, WRITE)
        # Given a turn that closed, and told the user exactly what is to be done
        assert (await world.log.get("anna", event))["state"] == "done"
        [response] = await world.responses()
        assert response["waitsFor"][0]["approvalID"] == approval["id"]
        [requested] = await world.events("approval.requested")
        assert requested["metadata"]["arguments"] == json.loads(WRITE.arguments)
        assert requested["metadata"]["hash"] == approval["hash"]
        assert len(await world.commits()) == 1
        # When it is approved
        assert (await decide(world, approval))["decision"] == "approved"
        # Then it is done, once, and the model goes on
        assert [commit.message.splitlines()[0] for commit in await world.commits()] == ["Write", "begin"]
        assert "commit" in world.told()[0]
        assert (await world.responses())[-1]["content"] == "Done."
        # And nothing waits for its time to end any more
        states = {each["type"]: each["state"] for each in await world.events()}
        assert states["approval.expiry"] == "done"

    async def test_refused_it_is_not_done_and_the_model_hears_so(self, world):
        _, [approval] = await ask(world, WRITE)
        await decide(world, approval, "refused")
        assert len(await world.commits()) == 1
        assert world.told()[0].startswith("Refused: the user does not want it.")

    async def test_undecided_it_is_refused_in_the_end(self, tmp_path):
        world = World(tmp_path, approval_seconds=0.5)
        _, [approval] = await ask(world, WRITE)
        async with asyncio.timeout(60):
            while len(await world.responses()) < 2:
                await world.work()
                await asyncio.sleep(0.05)
        assert world.told()[0].startswith("Refused: the user did not decide on it in time.")
        with pytest.raises(Conflict) as raised:
            await decide(world, approval)
        assert raised.value.code == "approval_expired"
        assert len(await world.commits()) == 1
        await world.close()

    async def test_it_is_decided_once(self, world):
        _, [approval] = await ask(world, WRITE)
        first = await decide(world, approval)
        assert (await decide(world, approval))["decidedAt"] == first["decidedAt"]
        with pytest.raises(Conflict) as raised:
            await decide(world, approval, "refused")
        assert raised.value.code == "approval_decided"
        assert (len(await world.commits()), len(await world.events("approval.decided"))) == (2, 1)

    async def test_of_two_decisions_at_once_one_holds(self, world):
        _, [approval] = await ask(world, WRITE)
        said = ["approved", "refused"] * 3
        ways = await asyncio.gather(*(decide(world, approval, each) for each in said), return_exceptions=True)
        held = {each["decision"] for each in ways if isinstance(each, dict)}
        assert len(held) == 1
        assert sum(isinstance(each, Conflict) for each in ways) == 3
        assert len(await world.commits()) == (2 if held == {"approved"} else 1)

    async def test_the_hash_is_that_of_the_exact_action(self, world):
        _, [approval] = await ask(world, WRITE)
        action = {name: approval[name] for name in ("tool", "arguments", "scope")}
        text = json.dumps(action, sort_keys=True, separators=(",", ":"))
        assert approval["hash"] == hashlib.sha256(text.encode()).hexdigest()
        with pytest.raises(Conflict) as raised:
            await decide(world, {**approval, "hash": "0" * 64})
        assert raised.value.code == "approval_hash"

    async def test_nobody_decides_for_another(self, world):
        _, [approval] = await ask(world, WRITE)
        with pytest.raises(NotFound):
            await world.tools.approvals.decide("bert", approval["id"], "approved", approval["hash"])

    async def test_several_are_decided_apart_and_the_model_waits_for_all(self, world):
        _, approvals = await ask(world, call("send_message", content="1"), WRITE)
        await decide(world, approvals[0])
        assert len(world.model.shown) == 1
        await decide(world, approvals[1], "refused")
        assert len(world.model.shown) == 2

    async def test_an_approved_run_begins_and_is_waited_for(self, world):
        _, [approval] = await ask(world, call("run_agent", agent="echo", input="x"))
        assert await world.events("worker.task") == []
        await decide(world, approval)
        [task] = await world.events("worker.task")
        assert len(world.model.shown) == 1
        await world.end(task, "its result")
        assert "its result" in world.told()[0]

    async def test_a_model_may_ask_by_itself(self, world):
        _, [approval] = await ask(world, call("ask_approval", question="Shall I?"), policy="never")
        await decide(world, approval)
        assert world.told() == ["The user agrees."]

    async def test_what_was_cancelled_is_not_approved_any_more(self, world):
        event, [approval] = await ask(world, WRITE)
        await world.log.interventions.cancel("anna", event)
        with pytest.raises(Conflict) as raised:
            await decide(world, approval)
        assert raised.value.code == "approval_cancelled"

    async def test_meanwhile_the_model_sees_that_nobody_has_decided(self, world):
        await ask(world, WRITE)
        await world.say("Well?")
        assert world.told() == ["The user has not decided on it yet; it is done when they approve it."]


class TestPolicy:
    async def test_the_first_time_is_enough_where_the_user_says_so(self, world):
        _, [approval] = await ask(world, call("send_message", content="1"), policy="first")
        await decide(world, approval)
        world.model.script = [[call("send_message", content="2")]]
        await world.say("Again")
        assert await pending(world) == []
        assert len(await world.events("user.message")) == 2
        # When the user sets anew what it may do
        await world.conversations.change("anna", "c", {"tools": asking("send_message", policy="first")})
        world.model.script = [[call("send_message", content="3")]]
        await world.say("Again")
        # Then it is a first time again
        assert len(await pending(world)) == 1

    async def test_always_is_always(self, world):
        _, [approval] = await ask(world, call("send_message", content="1"))
        await decide(world, approval)
        world.model.script = [[call("send_message", content="2")]]
        await world.say("Again")
        assert len(await pending(world)) == 1

    @pytest.mark.parametrize("change", [{"repo": None}, {"tools": []}])
    async def test_what_the_user_took_away_meanwhile_is_not_done(self, world, change):
        _, [approval] = await ask(world, WRITE)
        await world.conversations.change("anna", "c", change)
        await decide(world, approval)
        assert len(await world.commits()) == 1
        assert world.told()[0].startswith("Refused: it is not what the user approved")

    async def test_another_repository_is_another_action(self, world):
        _, [approval] = await ask(world, WRITE)
        other = await world.repositories.create("anna", "other")
        await world.conversations.change("anna", "c", {"repo": other.id})
        await decide(world, approval)
        assert world.told()[0].startswith("Refused: it is not what the user approved")
        assert (await world.repository(other).log()).commits == []


async def test_an_end_of_time_that_comes_after_the_decision_changes_nothing(world):
    _, [approval] = await ask(world, WRITE)
    await decide(world, approval)
    [expiry] = await world.events("approval.expiry")
    assert expiry["dueAt"] <= time.time()
    await world.step.run(wakeup(expiry))
    assert (await world.tools.approvals.find("anna", approval["id"])).document["decision"] == "approved"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as server:
        server.commit("a.txt", "one\n")
        yield server


@pytest.fixture
async def impatient(tmp_path, server):
    """A world that gives up what fails once, with a repository that lives on a server."""
    world = World(tmp_path, claim_seconds=60, max_attempts=1, git_allow="127.0.0.1")
    known = await world.repositories.create("anna", "notes", url=server.url)
    await world.conversations.create("anna", "c", {"tools": asking("write_files"), "repo": known.id})
    yield world
    await world.close()


class TestGivenUp:
    async def approvals_of(self, world, *calls):
        world.model.script = [list(calls), "I could not."]
        await world.say("Do it")
        return await pending(world)

    async def dead(self, world, type="approval.decided"):
        return [each["id"] for each in await world.events(type) if each["state"] == "dead"]

    async def test_the_model_hears_of_what_was_approved_and_could_not_be_done(self, impatient, server):
        # Given an approval whose repository does not answer
        [approval] = await self.approvals_of(impatient, WRITE)
        server.away = True
        # When it is approved, and given up
        await decide(impatient, approval)
        [decided] = await impatient.events("approval.decided")
        assert (decided["state"], decided["error"]["code"]) == ("dead", "remote_unreachable")
        # Then the model is told so, and goes on; nobody waits any more
        [told] = impatient.told()
        assert told.startswith(f"Error: {decided['error']['message']}. It was given up")
        assert (await impatient.responses())[-1]["content"] == "I could not."
        # And later it is told the same
        await impatient.say("Well?")
        assert impatient.told() == [told]

    async def test_a_replay_of_what_was_given_up_answers_nothing_twice(self, impatient, server):
        # Given an approved call that was given up, and a turn that went on
        [approval] = await self.approvals_of(impatient, WRITE)
        server.away = True
        await decide(impatient, approval)
        before = (impatient.told(), len(impatient.model.shown), len(await impatient.events()))
        # When an operator has it worked on again, with everything in its place
        server.away = False
        [dead] = await self.dead(impatient)
        await impatient.dispatch.replay("anna", dead)
        await impatient.work()
        # Then it ends, and nothing follows that did not before: it was told that it was given up
        assert (await impatient.log.get("anna", dead))["state"] == "done"
        assert (impatient.told(), len(impatient.model.shown), len(await impatient.events())) == before
        assert server.log() == ["write a.txt"]

    async def test_a_replay_while_the_turn_still_waits_lets_nothing_go_on(self, impatient, server):
        # Given two calls of one reply, of which one was given up
        other = call("write_files", files=[{"path": "c.txt", "content": "new"}], message="Write more")
        approvals = await self.approvals_of(impatient, WRITE, other)
        server.away = True
        await decide(impatient, approvals[0])
        server.away = False
        # When that is worked on again
        [dead] = await self.dead(impatient)
        await impatient.dispatch.replay("anna", dead)
        await impatient.work()
        # Then the model is still not asked, and once when the other one is decided
        assert len(impatient.model.shown) == 1
        await decide(impatient, approvals[1], "refused")
        assert len(impatient.model.shown) == 2
        assert sorted(told.split(":")[0] for told in impatient.told()) == ["Error", "Refused"]
        assert server.log() == ["write a.txt"]

    async def test_of_several_that_are_given_up_at_once_each_is_told(self, impatient, server):
        # Given two calls of one reply
        other = call("write_files", files=[{"path": "c.txt", "content": "new"}], message="Write more")
        approvals = await self.approvals_of(impatient, WRITE, other)
        server.away = True
        # When both are given up
        await asyncio.gather(*(decide(impatient, approval) for approval in approvals))
        # Then the model goes on once, when it has both results
        assert [told.startswith("Error: ") for told in impatient.told()] == [True, True]
        assert len(await impatient.events("llm.chat.continued")) == 1

    async def test_what_was_refused_stays_refused(self, world):
        # Given a refusal whose message the broker gives up
        _, [approval] = await ask(world, WRITE)
        _, events = await world.tools.approvals.decide("anna", approval["id"], "refused", approval["hash"])
        [decided] = [each for each in events if each["type"] == "approval.decided"]
        await world.step.bury(wakeup(decided), Permanent("given up", code="delivery_failed"))
        await world.work()
        # Then the model hears that it is refused
        assert await self.dead(world) == [decided["id"]]
        assert world.told()[0].startswith("Refused: the user does not want it.")

    async def test_an_end_of_time_that_is_given_up_refuses_all_the_same(self, world):
        # Given an approval whose time is over, and a broker that gives up the message that says so
        _, [approval] = await ask(world, WRITE)
        expiry = await world.log.hasten("anna", approval["expiryID"])
        await world.step.bury(wakeup(expiry), Permanent("given up", code="delivery_failed"))
        await world.work()
        # Then it is refused, and the model hears so
        assert (await world.log.get("anna", expiry["id"]))["state"] == "dead"
        assert (await world.tools.approvals.find("anna", approval["id"])).document["decision"] == "expired"
        assert world.told()[0].startswith("Refused: the user did not decide on it in time.")
        # And a replay changes nothing
        before = len(await world.events())
        await world.dispatch.replay("anna", expiry["id"])
        await world.work()
        assert (len(await world.events()), len(world.model.shown)) == (before, 2)
