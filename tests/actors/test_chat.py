"""The chat actor: the conversation is the log, and its messages are answered in turn."""

from pathlib import Path

import pytest

from actors.chat import Chat
from actors.step import Step
from lightning.domain.budgets import Budgets, Limits
from lightning.domain.context import estimate
from lightning.domain.conversations import Conversations
from lightning.errors import Permanent, Transient
from lightning.events import TYPES, Draft
from lightning.ids import derived_id
from lightning.llm import ChatMessage, Completion, LanguageModel, Options, TextDelta, Usage
from lightning.llm.echo import EchoModel
from lightning.log import Dispatch, EventLog, wakeup
from tests.chat_tools import tools_of
from tests.memory_queue import Clock, MemoryQueue
from tests.stores import storage_of


class ScriptedModel(LanguageModel):
    """Says "answer to" and the last message; remembers what it was shown."""

    provider = "test"
    model = "test-small"

    def __init__(self):
        self.shown: list[list[ChatMessage]] = []
        self.asked: list[str | None] = []
        self.options: list[Options | None] = []
        self.usage: Usage | None = Usage(prompt_tokens=7, completion_tokens=5, total_tokens=12)
        self.error: Exception | None = None

    async def stream(self, messages, *, model=None, tools=(), options=None):
        self.options.append(options)
        self.shown.append(list(messages))
        self.asked.append(model)
        if self.error is not None:
            raise self.error
        content = f"answer to {messages[-1].content}"
        yield TextDelta(content)
        yield Completion(content, "test-small-2026", self.usage, "length")

    async def close(self) -> None:
        pass


@pytest.fixture
async def storage(tmp_path: Path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def log(storage):
    return EventLog(storage)


@pytest.fixture
def conversations(storage, log):
    return Conversations(storage, log)


@pytest.fixture
def model():
    return ScriptedModel()


@pytest.fixture
def tools(storage, log, tmp_path):
    return tools_of(storage, log, Dispatch(log, MemoryQueue()), tmp_path)


@pytest.fixture
def chat(log, model, conversations, tools):
    return Chat(log, model, conversations, tools)


class Talk:
    """One user's side of it."""

    def __init__(self, log, chat, user="anna"):
        self.log, self.chat, self.user = log, chat, user
        self.queue = MemoryQueue()
        self.step = Step(log, Dispatch(log, self.queue), {"chat": chat}, owner="me")

    async def say(self, id, content, conversation=None):
        metadata = {"content": content} | ({"conversationID": conversation} if conversation else {})
        [event] = await self.log.append(self.user, [Draft(id, "llm.chat", "test", metadata, "now", {})])
        return event

    async def handle(self, event):
        return await self.chat.handle(event, TYPES["llm.chat"].metadata.model_validate(event["metadata"]))

    async def exchange(self, id, content, conversation=None):
        """Say something, and have it answered."""
        await self.step.run(wakeup(await self.say(id, content, conversation)))
        return await self.log.get(self.user, derived_id(id, "response"))


@pytest.fixture
def talk(log, chat):
    return Talk(log, chat)


def texts(messages) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


class TestResponse:
    async def test_it_says_who_answered_and_what_it_cost(self, log, talk):
        # When a message is answered
        response = await talk.exchange("a", "Hello")
        # Then the response names the model that answered, not the one that was asked
        assert (response["type"], response["source"], response["cause"]) == (
            "llm.chat.response",
            "lightning.chat",
            "a",
        )
        assert response["metadata"] == {
            "content": "answer to Hello",
            "conversationID": "a",
            "model": "test-small-2026",
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
            "finishReason": "length",
            "attempt": 1,
        }
        assert response["conversationID"] == "a"

    async def test_a_cost_that_is_not_known_is_not_made_up(self, model, talk):
        model.usage = None
        assert "usage" not in (await talk.exchange("a", "Hello"))["metadata"]

    async def test_it_belongs_to_the_conversation_that_was_named(self, talk):
        response = await talk.exchange("a", "Hello", "weather")
        assert response["metadata"]["conversationID"] == response["conversationID"] == "weather"

    async def test_the_echo_says_that_it_is_one(self, log, conversations, tools):
        response = await Talk(log, Chat(log, EchoModel(), conversations, tools)).exchange("a", "Hello")
        assert response["metadata"]["content"].endswith("Hello")
        assert response["metadata"]["model"] == "echo"

    @pytest.mark.parametrize("error", [Transient("busy", retry_after=3), Permanent("no")])
    async def test_what_the_model_raises_is_the_step_s_affair(self, model, talk, error):
        model.error = error
        with pytest.raises(type(error)) as raised:
            await talk.handle(await talk.say("a", "Hello"))
        assert raised.value is error

    @pytest.mark.parametrize("conversation", [None, "weather"])
    async def test_when_given_up_the_user_hears_why(self, chat, talk, conversation):
        event = await talk.say("a", "Hello", conversation)
        [output] = await chat.on_dead(event, Permanent("there is no credit", code="model_quota_exhausted"))
        assert output.type == "llm.chat.response"
        assert output.document() == {
            "content": "",
            "conversationID": conversation or "a",
            "model": "test-small",
            "finishReason": "error",
            "error": {"code": "model_quota_exhausted", "message": "there is no credit"},
            "attempt": 0,
        }


class TestContext:
    async def test_the_conversation_is_shown_in_order(self, log, chat, model, talk):
        # Given a conversation, another one of the same user, and one of that name of another user
        await talk.exchange("a", "one", "weather")
        await talk.exchange("x", "elsewhere", "sports")
        await Talk(log, chat, "bert").exchange("b", "somebody else", "weather")
        await talk.exchange("c", "two", "weather")
        # When it goes on
        await talk.exchange("d", "three", "weather")
        # Then the model is shown this conversation only, oldest first
        assert texts(model.shown[-1]) == [
            ("user", "one"),
            ("assistant", "answer to one"),
            ("user", "two"),
            ("assistant", "answer to two"),
            ("user", "three"),
        ]

    async def test_a_conversation_named_by_its_first_message_goes_on(self, model, talk):
        await talk.exchange("a", "one")
        await talk.exchange("b", "two", "a")
        assert texts(model.shown[-1]) == [("user", "one"), ("assistant", "answer to one"), ("user", "two")]

    async def test_without_a_name_each_message_begins_one(self, model, talk):
        await talk.exchange("a", "one")
        await talk.exchange("b", "two")
        assert texts(model.shown[-1]) == [("user", "two")]

    async def test_what_was_said_later_is_not_shown(self, model, talk):
        first = await talk.say("a", "one", "weather")
        await talk.say("b", "two", "weather")
        await talk.handle(first)
        assert texts(model.shown[-1]) == [("user", "one")]

    async def test_it_goes_back_over_several_pages(self, log, model, talk):
        # Given more messages than a page of the log
        for n in range(90):
            await talk.say(f"m{n}", f"m{n}", "weather")
            await log.end(await log.claim("anna", f"m{n}", 0, "other", 10), "done")
        # When another is answered
        await talk.exchange("a", "last", "weather")
        # Then all are shown
        assert [message.content for message in model.shown[-1]] == [*(f"m{n}" for n in range(90)), "last"]

    async def test_the_oldest_do_not_fit(self, log, model, conversations, tools):
        # Given a budget for the message and the two before it
        budget = estimate("three") + estimate("answer to two") + estimate("two")
        talk = Talk(log, Chat(log, model, conversations, tools, context_tokens=budget))
        await talk.exchange("a", "one", "weather")
        await talk.exchange("b", "two", "weather")
        # When it goes on
        await talk.exchange("c", "three", "weather")
        # Then the older ones are left out
        assert texts(model.shown[-1]) == [("user", "two"), ("assistant", "answer to two"), ("user", "three")]

    async def test_nothing_is_shown_beyond_a_message_that_does_not_fit(
        self, log, model, conversations, tools
    ):
        # Given a long answer between short messages
        budget = estimate("x" * 300) + estimate("two") + estimate("one")
        talk = Talk(log, Chat(log, model, conversations, tools, context_tokens=budget))
        await talk.exchange("a", "one", "weather")
        await talk.exchange("b", "x" * 300, "weather")
        # When the conversation goes on
        await talk.exchange("c", "two", "weather")
        # Then there is no gap in what is shown
        assert [message.content[-3:] for message in model.shown[-1]][-1] == "two"
        assert "one" not in [message.content for message in model.shown[-1]]

    async def test_the_message_itself_always_fits(self, log, model, conversations, tools):
        talk = Talk(log, Chat(log, model, conversations, tools, context_tokens=10))
        await talk.exchange("a", "one", "weather")
        await talk.exchange("b", "two " * 100, "weather")
        assert texts(model.shown[-1]) == [("user", "two " * 100)]

    async def test_an_answer_that_failed_is_not_shown_as_one(self, log, chat, model, talk):
        # Given a message that was given up
        event = await talk.say("a", "one", "weather")
        [failure] = await chat.on_dead(event, Permanent("no"))
        draft = Draft("f", failure.type, "test", failure.document(), "now", {})
        await log.end(await log.claim("anna", "a", 0, "other", 10), "dead", outputs=[draft])
        # When the conversation goes on
        await talk.exchange("b", "two", "weather")
        # Then the model is not told that it said nothing
        assert texts(model.shown[-1]) == [("user", "one"), ("user", "two")]


class TestConversation:
    async def test_what_the_conversation_asks_of_the_model(self, conversations, model, talk):
        # Given a conversation with a system prompt and a model of its own
        await conversations.create("anna", "weather", {"systemPrompt": "Be brief.", "model": "test-large"})
        # When somebody speaks in it
        await talk.exchange("a", "Hello", "weather")
        # Then that model is asked, and told so first
        assert texts(model.shown[-1]) == [("system", "Be brief."), ("user", "Hello")]
        assert model.asked[-1] == "test-large"

    async def test_the_system_prompt_is_part_of_the_budget(self, log, conversations, model, tools):
        # Given room for a system prompt, a message and one turn before it, and no more
        prompt = "Be brief. " * 20
        budget = estimate(prompt) + estimate("two") + estimate("answer to one") + estimate("one") - 1
        await conversations.create("anna", "weather", {"systemPrompt": prompt})
        talk = Talk(log, Chat(log, model, conversations, tools, context_tokens=budget))
        await talk.exchange("a", "one", "weather")
        # When the conversation goes on
        await talk.exchange("b", "two", "weather")
        # Then what does not fit is left out, never the prompt
        assert [role for role, _ in texts(model.shown[-1])] == ["system", "assistant", "user"]


class TestTurns:
    async def test_a_message_that_waited_is_answered_knowing_the_answer_before_it(self, log, model, talk):
        # Given a second message that came while the first was worked on
        first = await talk.say("a", "one", "weather")
        await talk.say("b", "two", "weather")
        await talk.step.run(wakeup(first))
        # When it is answered in its turn
        await talk.step.run(wakeup(await log.get("anna", "b")))
        # Then the model is shown the answer that the second waited for
        assert texts(model.shown[-1]) == [("user", "one"), ("assistant", "answer to one"), ("user", "two")]

    async def test_the_next_message_is_announced_by_the_end_of_the_one_before(self, log, talk, model):
        # Given two messages of a conversation
        first = await talk.say("a", "one", "weather")
        await talk.say("b", "two", "weather")
        # When the first is answered
        await talk.step.run(wakeup(first))
        # Then the queue holds a message for the second, and it is answered
        [message] = [message for message in talk.queue.take() if message.event_id == "b"]
        await talk.step.run(message)
        assert (await log.get("anna", "b"))["state"] == "done"

    async def test_a_message_that_waits_is_not_worked_on(self, log, model, talk):
        # Given a message that waits
        await talk.say("a", "one", "weather")
        second = await talk.say("b", "two", "weather")
        # When somebody asks for it all the same
        await talk.step.run(wakeup(second))
        # Then nothing happens to it
        assert model.shown == []
        assert await log.get("anna", "b") == second


class TestBudget:
    @pytest.fixture
    def budgets(self, storage):
        return Budgets(storage)

    @pytest.fixture
    def talk(self, log, model, conversations, tools, budgets):
        return Talk(log, Chat(log, model, conversations, tools, budgets=budgets))

    async def budgeted(self, talk, tokens=None):
        """Record a root, which may have a budget of tokens, and a chat that follows from it."""
        [root] = await talk.log.append(
            talk.user, [Draft("root", "user.message", "test", {"content": "x"}, "now", {})]
        )
        if tokens is not None:
            await talk.chat._model._budget._budgets.open(root, Limits(tokens=tokens))
        draft = Draft("a", "llm.chat", "test", {"content": "Hello"}, "now", {})
        [event] = await talk.log.append(talk.user, [draft], cause=root)
        return root, event

    async def follow(self, talk, tokens=None):
        """Have a chat answered that follows from a root."""
        _, event = await self.budgeted(talk, tokens)
        await talk.step.run(wakeup(event))
        return await talk.log.get(talk.user, "a")

    async def ledger(self, budgets):
        return await budgets.find("anna", "root")

    async def test_an_answer_is_paid_from_the_budget_of_its_root(self, talk, budgets, model):
        event = await self.follow(talk, tokens=1_000_000)
        assert event["state"] == "done"
        ledger = await self.ledger(budgets)
        assert (ledger.accounts["*"].tokens, ledger.holds) == (12, {})
        assert model.options == [None]

    async def test_an_answer_is_no_longer_than_what_is_left(self, talk, budgets, model):
        await self.follow(talk, tokens=100)
        [options] = model.options
        assert 0 < options.max_completion_tokens < 100

    async def test_a_budget_that_is_spent_asks_no_model_and_says_so(self, talk, budgets, model):
        event = await self.follow(talk, tokens=1)
        assert (event["state"], event["error"]["code"], model.shown) == ("dead", "budget_exhausted", [])
        failed = await talk.log.get("anna", derived_id("a", "failure"))
        assert failed["metadata"]["error"]["code"] == "budget_exhausted"

    async def test_a_chat_waits_for_what_another_call_holds_however_long_that_takes(
        self, storage, log, conversations, model, tools
    ):
        # Given a call under way that holds all of the budget of a root
        clock = Clock()
        budgets, log = Budgets(storage, clock=clock), EventLog(storage, clock=clock)
        talk = Talk(log, Chat(log, model, conversations, tools, budgets=budgets))
        root, event = await self.budgeted(talk, tokens=3_000)
        await budgets.reserve(root, "another", least=1, most=3_000, seconds=900)
        # When a chat that follows from the root is looked at more often than there are attempts
        await talk.step.run(wakeup(event))
        for _ in range(20):
            [again] = talk.queue.take()
            clock.now += again.delay_seconds
            await talk.step.run(again)
        # Then it is not given up, and tells what it waits for
        event = await log.get("anna", "a")
        assert (event["state"], event["attempts"], event["error"]["code"]) == (
            "accepted",
            0,
            "budget_reserved",
        )
        assert model.shown == []
        # When that call has ended
        await budgets.settle(root, "another", 1_000)
        [again] = talk.queue.take()
        clock.now += again.delay_seconds
        await talk.step.run(again)
        # Then it is answered
        event = await log.get("anna", "a")
        assert (event["state"], event["attempts"], event["error"]) == ("done", 1, None)

    async def test_a_chat_that_waits_goes_on_when_whoever_holds_the_budget_is_dead(
        self, storage, log, conversations, model, tools
    ):
        # Given a call that nobody will settle, and that holds all of the budget
        clock = Clock()
        budgets, log = Budgets(storage, clock=clock), EventLog(storage, clock=clock)
        talk = Talk(log, Chat(log, model, conversations, tools, budgets=budgets))
        root, event = await self.budgeted(talk, tokens=3_000)
        await budgets.reserve(root, "another", least=1, most=3_000, seconds=900)
        await talk.step.run(wakeup(event))
        # When that is past its time
        clock.now += 901
        await talk.step.run(*talk.queue.take())
        # Then the chat does not wait for it any longer: what was held counts as spent
        event = await log.get("anna", "a")
        assert (event["state"], event["error"]["code"]) == ("dead", "budget_exhausted")

    @pytest.mark.parametrize(
        ("error", "cost"),
        [
            (Transient("no connection", code="model_unreachable"), False),
            (Permanent("refused", code="model_refused"), False),
            (Transient("cut off", code="model_stream_cut"), True),
        ],
    )
    async def test_what_fails_is_paid_if_a_provider_may_ask_for_it(self, talk, budgets, model, error, cost):
        model.error = error
        await self.follow(talk, tokens=1_000_000)
        ledger = await self.ledger(budgets)
        assert (ledger.accounts["*"].tokens > 0, ledger.holds) == (cost, {})

    async def test_without_a_budget_nothing_is_written(self, talk, budgets, model):
        assert (await self.follow(talk))["state"] == "done"
        assert await self.ledger(budgets) is None
        await talk.exchange("b", "Hello")
        assert await budgets.find("anna", "b") is None
