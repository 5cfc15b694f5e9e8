"""`lightning chat` while a real platform answers, and the commands on events and conversations."""

import json
import signal

import pytest

from lightning.client import ClientError
from ops.chaos.installation import until
from tests.ops.terminal import CTRL_C, CTRL_D

pytestmark = pytest.mark.timeout(60)

HOSTILE_TITLE = "\x1b[31m[bold]About\nAda"

SCRIPT = [
    # given the first quarter of its answer, the model stops until it is told to go on
    {"last_contains": ["go on"], "hold": True, "reply": "On and on and on"},
    {"last_contains": ["survive"], "hold": True, "reply": "Alive and well, thank you"},
    {"last_contains": ["anew"], "cut_after": 2, "reply": "wrong answer", "times": 1},
    {"last_contains": ["anew"], "reply": "right"},
    {"last_contains": ["once more"], "cut_after": 2, "reply": "wrong answer", "times": 1},
    {"last_contains": ["once more"], "reply": "right"},
    {"last_contains": ["dead at first"], "status": 400, "error": "not now", "times": 1},
    {"last_contains": ["dead for good"], "status": 400, "error": "never"},
    {"model": "large", "reply": "Large as I am"},
    {"last_contains": ["hostile"], "reply": "Hello \x1b[2JAda"},
]


@pytest.fixture(scope="module")
def platform(installed):
    with installed(
        SCRIPT, OPENAI_MODELS="large", LIGHTNING_RETRY_SECONDS="0.1", LIGHTNING_CLAIM_SECONDS="600"
    ) as running:
        yield running


@pytest.fixture
def model(platform):
    return platform.model


def held(terminal, model, said: str, begins: str) -> None:
    """Say something, and see the answer begin and stop."""
    terminal.until("> ")
    terminal.type(f"{said}\n")
    terminal.until(begins)
    until(lambda: model.held() == 1, "the model holds its answer")


def test_an_answer_is_shown_while_it_is_written(platform, model):
    with platform.at_a_terminal("chat") as terminal:
        held(terminal, model, "go on", "On")
        assert "and on and on" not in terminal.seen
        model.release()
        terminal.until("and on")
        terminal.until("> ")


def test_ctrl_c_cancels_the_answer_and_the_talk_goes_on(platform, model, client):
    # Given an answer that is being written
    asked = model.calls()
    with platform.at_a_terminal("chat") as terminal:
        held(terminal, model, "go on", "On")
        # When the person presses Ctrl-C
        terminal.type(CTRL_C)
        # Then they are told, and the worker hangs up on the model
        terminal.until("cancelled")
        terminal.until("> ")
        until(lambda: model.held() == 0, "the model is hung up on", seconds=5)
        # And the conversation goes on
        terminal.type("are you there?\n")
        terminal.until("You said: are you there?")
        terminal.until("> ")
        # And Ctrl-D leaves
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert "Traceback" not in terminal.seen
    # And the log has it so, in one conversation, without an answer to the first
    said = client.events(conversationID=terminal.seen.split()[-1])["events"]
    assert [(event["type"], event["state"]) for event in said if event["type"] == "llm.chat"] == [
        ("llm.chat", "cancelled"),
        ("llm.chat", "done"),
    ]
    [answer] = [event for event in said if event["type"] == "llm.chat.response"]
    assert answer["cause"] == said[1]["id"]
    assert model.calls() == asked + 2


def test_the_answer_is_shown_though_the_ingress_is_killed_in_the_middle_of_it(platform, model):
    with platform.at_a_terminal("chat") as terminal:
        # Given an answer that is being written
        held(terminal, model, "survive", "Alive")
        # When the ingress is killed, and the model goes on meanwhile
        assert platform.installation.signal("web", signal.SIGKILL)
        model.release()
        # Then the supervisor brings it back, and the chat shows the whole answer
        terminal.until("thank you")
        terminal.until("> ")
        assert "begins anew" not in terminal.seen
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert "Alive and well, thank you" in terminal.seen


def test_two_people_in_one_conversation_are_answered_in_turn(platform, model):
    first_said = platform.run("send", "I am Ada", "--json")
    conversation = json.loads(first_said.stdout)["metadata"]["conversationID"]
    with (
        platform.at_a_terminal("chat", "--conversation", conversation) as first,
        platform.at_a_terminal("chat", "--conversation", conversation) as second,
    ):
        # Given one who is being answered
        held(first, model, "go on", "On")
        # When the other speaks
        second.until("> ")
        second.type("me too\n")
        until(lambda: waiting(platform, conversation) == 2, "the second message is recorded")
        # Then that waits, and each sees their own answer
        assert "You said" not in second.seen
        model.release()
        first.until("and on")
        first.until("> ")
        second.until("You said: me too")
        second.until("> ")
    assert "me too" not in first.seen
    assert "and on" not in second.seen


def waiting(platform, conversation: str) -> int:
    with platform.client() as client:
        return len(client.conversation(conversation)["waiting"])


def test_an_answer_that_begins_anew_is_marked(platform):
    ran = platform.run("chat", stdin="anew\n")
    assert ran.stdout.startswith("wrong")
    assert ran.stdout.endswith("\n[the answer begins anew]\nright\n")
    ran = platform.run("chat", "--json", stdin="once more\n")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    begun = lines.index({"restarted": True})
    assert "".join(line["piece"] for line in lines[begun + 1 : -1]) == "right"
    assert lines[-1]["answer"]["attempts"] == 2


def test_a_model_is_that_of_a_conversation(platform, client):
    ran = platform.run("chat", "--model", "large", "--json", stdin="hello\nagain\n")
    assert ran.returncode == 0, ran.stdout
    answers = [json.loads(line)["answer"] for line in ran.stdout.splitlines() if "answer" in line]
    assert [each["outputs"][0]["metadata"]["content"] for each in answers] == ["Large as I am"] * 2
    [conversation] = {each["metadata"]["conversationID"] for each in answers}
    assert client.conversation(conversation)["model"] == "large"
    refused = platform.run("chat", "--model", "tiny", stdin="hello\n")
    assert refused.returncode == 1
    assert "choose one of" in refused.stderr


def test_a_conversation_is_named(platform, client):
    with platform.at_a_terminal("chat") as terminal:
        for typed, shown in [
            ("/title too soon", "say something first"),
            ("hello", "You said: hello"),
            ("/title About nothing", ""),
        ]:
            terminal.until("> ")
            terminal.type(f"{typed}\n")
            terminal.until(shown)
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert client.conversation(terminal.seen.split()[-1])["title"] == "About nothing"


def test_an_event_is_cancelled(platform, model, client):
    event = client.send("llm.chat", {"content": "go on"})
    until(lambda: model.held() == 1, "the model is asked")
    ran = platform.run("cancel", event["id"])
    assert (ran.returncode, ran.stdout) == (0, f"cancelled {event['id']}\n")
    until(lambda: model.held() == 0, "the model is hung up on", seconds=5)
    # once more is the same
    again = platform.run("cancel", event["id"], "--json")
    assert (again.returncode, json.loads(again.stdout)["state"]) == (0, "cancelled")


def test_what_is_over_is_not_cancelled(platform, client):
    over = client.wait(client.send("user.message", {"content": "hello"}))
    ran = platform.run("cancel", over["id"])
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert "over already" in line


def test_a_dead_event_is_replayed_and_a_done_one_anew(platform, client):
    # Given an event whose model refused
    dead = platform.run("send", "dead at first", "--json")
    event = json.loads(dead.stdout)
    assert (dead.returncode, event["state"]) == (1, "dead")
    # When it is replayed
    ran = platform.run("replay", event["id"])
    # Then it is worked on again; a fast worker is done before that is told
    assert ran.returncode == 0
    assert ran.stdout in {f"accepted {event['id']}\n", f"done {event['id']}\n"}
    over = client.wait(event)
    assert over["state"] == "done"
    assert "You said: dead at first" in [each["metadata"]["content"] for each in over["outputs"]]
    # And a done one is another event
    again = json.loads(platform.run("replay", event["id"], "--json").stdout)
    assert again["replayOf"] == event["id"] != again["id"]
    assert platform.run("replay", "no-such-event").returncode == 1


def test_a_dead_event_is_discarded(platform, client):
    event = client.wait(client.send("llm.chat", {"content": "dead for good"}))
    assert event["state"] == "dead"
    ran = platform.run("discard", event["id"])
    assert (ran.returncode, ran.stdout) == (0, f"cancelled {event['id']}\n")
    with pytest.raises(ClientError, match="only a dead event") as refused:
        client.discard(event["id"])
    assert refused.value.code == "not_dead"


def test_conversations_are_listed_shown_and_deleted(platform, client):
    # Given a conversation with a hostile title, and an older one
    client.create_conversation(conversationID="older")
    client.create_conversation(title=HOSTILE_TITLE, conversationID="c")
    client.wait(client.send("llm.chat", {"content": "be hostile", "conversationID": "c"}))
    # Then it is listed as what it is; longer ids beside it may leave the title less than a line
    listed = platform.run("conversations", "list").stdout
    [line] = [line for line in listed.splitlines() if line.split()[:1] == ["c"]]
    assert "[31m[bold]" in line
    assert line.split()[-1] == "0"
    assert "\x1b" not in listed
    found = json.loads(platform.run("conversations", "list", "--limit", "1", "--json").stdout)
    assert [each["id"] for each in found["conversations"]] == ["c"]
    assert found["next"]
    assert "--page" in platform.run("conversations", "list", "--limit", "1").stdout
    # And shown in the order in which it was said
    shown = platform.run("conversations", "show", "c").stdout
    assert shown == "you: be hostile\ngpt-3.5-turbo: Hello [2JAda\n"
    shown = json.loads(platform.run("conversations", "show", "c", "--json").stdout)
    assert (shown["id"], len(shown["messages"])) == ("c", 2)
    # And deleted, and then it is gone
    assert platform.run("conversations", "delete", "c").stdout == "deleted c\n"
    gone = platform.run("conversations", "show", "c")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "no such conversation" in gone.stderr
