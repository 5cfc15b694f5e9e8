"""`lightning chat` while an answer is written, and the commands on events and conversations."""

import json

import pytest

from ops.chaos.installation import until
from tests.fake_platform import Fault, new_conversation
from tests.ops.terminal import CTRL_C, CTRL_D

pytestmark = pytest.mark.timeout(60)


def test_an_answer_is_shown_while_it_is_written(fake, platform):
    platform.script = lambda _: [
        ("delta", 1, 0, "first "), ("hold",), ("delta", 1, 6, "then"), ("answer", "first then")
    ]  # fmt: skip
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("first ")
        platform.released.set()
        terminal.until("then")
        terminal.until("> ")


def test_ctrl_c_cancels_the_answer_and_the_talk_goes_on(fake, platform):
    # Given an answer that is being written
    platform.script = lambda said: (
        [("delta", 1, 0, "On and "), ("hold",), ("answer", "On and on")]
        if said == "go on"
        else [("answer", "Here I am")]
    )
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go on\n")
        terminal.until("On and ")
        # When the person presses Ctrl-C
        terminal.type(CTRL_C)
        # Then it is cancelled on the platform, and said so
        terminal.until("cancelled")
        terminal.until("> ")
        assert platform.events[0]["state"] == "cancelled"
        # And the conversation goes on
        terminal.type("are you there?\n")
        terminal.until("Here I am")
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    first, second = (body["metadata"] for body in platform.bodies)
    assert second["conversationID"] == platform.events[0]["metadata"]["conversationID"]
    assert "conversationID" not in first
    assert "Traceback" not in terminal.seen


def test_ctrl_c_that_comes_too_late_shows_the_answer(fake, platform):
    # Given an answer that is recorded, and not yet known to the person
    platform.script = lambda _: [("delta", 1, 0, "Al"), ("hold",), ("answer", "All of it")]
    platform.lateness["/api/events/event-1"] = 1.0
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("Al")
        platform.released.set()
        until(lambda: platform.events[0]["state"] == "done", "it is recorded")
        # When they press Ctrl-C
        terminal.type(CTRL_C)
        # Then they are shown the answer, which nobody could cancel any more
        terminal.until("l of it")
        assert "cancelled" not in terminal.until("> ")
        assert platform.count("POST", "/api/events/event-1/cancel") == 1


def test_a_cancel_that_is_refused_gives_the_prompt_back(fake, platform):
    platform.script = lambda _: [("delta", 1, 0, "On"), ("hold",)]
    platform.faults.append(Fault("POST", "/api/events/event-1/cancel", 404, "not_found"))
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("On")
        terminal.type(CTRL_C)
        terminal.until("refused: not_found")
        terminal.until("> ")


def test_ctrl_c_twice_does_not_wait_for_the_platform(fake, platform):
    platform.script = lambda _: [("delta", 1, 0, "On"), ("hold",)]
    platform.delays["/api/events/event-1/cancel"] = 20
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("On")
        terminal.type(CTRL_C)
        until(lambda: platform.count("POST", "/api/events/event-1/cancel") == 1, "the cancel is asked for")
        terminal.type(CTRL_C)
        terminal.until("no longer", seconds=10)
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_an_answer_that_begins_anew_is_marked(fake, platform):
    platform.script = lambda _: [("delta", 1, 0, "wro"), ("delta", 2, 0, "right"), ("answer", "right")]
    ran = fake.run("chat", stdin="go\n")
    assert ran.stdout.endswith("\nright\n")
    ran = fake.run("chat", "--json", stdin="go\n")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines[-2:] == [{"piece": "right"}, lines[-1]]
    assert set(lines[-1]) == {"answer"}


def test_a_model_is_that_of_a_conversation(fake, platform):
    ran = fake.run("chat", "--model", "large", stdin="hello\nagain\n")
    assert ran.stdout == "You said: hello\nYou said: again\n"
    [(name, made)] = platform.conversations.items()
    assert made["model"] == "large"
    assert [body["metadata"]["conversationID"] for body in platform.bodies] == [name, name]


def test_a_conversation_is_named(fake, platform):
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("/title too soon\n")
        terminal.until("say something first")
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("You said: hello")
        terminal.until("> ")
        name = platform.events[0]["metadata"]["conversationID"]
        platform.conversations[name] = new_conversation(name)
        terminal.type("/title About nothing\n")
        terminal.until("> ")
    assert platform.conversations[name]["title"] == "About nothing"


def test_events_are_cancelled_and_replayed(fake, platform):
    platform.script = lambda _: [("hold",)]
    event = platform.record("llm.chat", {"content": "hello", "conversationID": "c"})
    ran = fake.run("cancel", event["id"])
    assert (ran.returncode, ran.stdout) == (0, "cancelled event-1\n")
    again = fake.run("cancel", event["id"], "--json")
    assert (again.returncode, again.stderr) == (1, "refused: already_over\n")
    assert json.loads(fake.run("replay", event["id"], "--json").stdout)["replayOf"] == "event-1"
    assert fake.run("replay", event["id"]).stdout == "cancelled event-again\n"
    assert fake.run("replay", "no-such-event").returncode == 1


def test_conversations_are_listed_shown_and_deleted(fake, platform):
    # Given a conversation with a hostile title
    platform.conversations["c"] = new_conversation("c", title="\x1b[31m[bold]About\nAda")
    platform.record("llm.chat", {"content": "I am Ada", "conversationID": "c"})
    answer = {"content": "Hello \x1b[2JAda", "conversationID": "c", "model": "small"}
    platform.record("llm.chat.response", answer)
    # Then it is listed on one line as what it is
    listed = fake.run("conversations", "list").stdout
    assert "[31m[bold]About Ada" in listed
    assert "\x1b" not in listed
    assert json.loads(fake.run("conversations", "list", "--json").stdout)["conversations"][0]["id"] == "c"
    # And shown in the order in which it was said
    assert fake.run("conversations", "show", "c").stdout == "you: I am Ada\nsmall: Hello [2JAda\n"
    shown = json.loads(fake.run("conversations", "show", "c", "--json").stdout)
    assert (shown["id"], len(shown["messages"])) == ("c", 2)
    # And deleted
    assert fake.run("conversations", "delete", "c").stdout == "deleted c\n"
    assert platform.conversations == {}
    gone = fake.run("conversations", "show", "c")
    assert (gone.returncode, gone.stderr) == (1, "refused: not_found\n")
