"""What a release is made to do before it is kept: something of everything, in every state.

It is driven from outside, through HTTP and the command line. What was made is told as a story: names by which
the tests of later releases ask for it again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from dramatiq import Message
from typer.testing import CliRunner

from brokers import AnyBroker, declare_queues, open_broker, queue_name
from lightning.client import Client
from lightning.settings import for_child
from ops.chaos.installation import Installation, ModelServer, until
from ops.cli import app
from tests.releases.places import Place

PASSWORD = "the password of everybody here"

#: Nobody listens there, so what is posted there waits for its next attempt.
NOWHERE = "http://127.0.0.1:9/hook"

#: So small that many fit on a machine that tests share.
SMALL = {"network": "none", "resources": {"cpu": 1, "memoryMiB": 64, "diskMiB": 8, "pids": 32}}

SCRIPT = [
    {"last_contains": ["forbidden"], "status": 400, "error": "not that model"},
    {"contains": ["hold on"], "hold": True, "hold_after": 0, "reply": "It was held."},
    {"contains": ["ask me", "I ask."], "require": ["It is sent."], "reply": "You agreed."},
    {
        "last_contains": ["ask me"],
        "reply": "I ask.",
        "tool_calls": [{"name": "send_message", "arguments": {"content": "You agreed to it."}}],
    },
    {"contains": ["tell me", "I tell you."], "require": ["It is sent."], "reply": "I told you."},
    {
        "last_contains": ["tell me"],
        "reply": "I tell you.",
        "tool_calls": [{"name": "send_message", "arguments": {"content": "You asked for it."}}],
    },
    {"contains": ["write it down", "I write."], "require": ["as commit"], "reply": "It is written."},
    {
        "last_contains": ["write it down"],
        "reply": "I write.",
        "tool_calls": [
            {
                "name": "write_files",
                "arguments": {"message": "Write", "files": [{"path": "said.txt", "content": "said\n"}]},
            }
        ],
    },
]

SETTINGS = {
    "LIGHTNING_APPROVAL_SECONDS": str(100 * 366 * 86_400),
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    # long enough that none is tried again before it is kept, and due whenever it is read
    "LIGHTNING_WEBHOOK_RETRIES": "90,90,90,90",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_MAX_ATTEMPTS": "3",
}

Story = dict[str, Any]


def live(place: Place, data: Path) -> Story:
    """Have an installation live in a place, and leave it in the midst of work; give its story."""
    data.mkdir()
    with ModelServer(data, SCRIPT) as model:
        settings = {**SETTINGS, **model.environment()}
        with place.installation(data, settings) as running:
            story = _busy(running)
            until(lambda: model.held() == 3, "a chat and two agents wait for the model", seconds=90)
            story["runs"] = [each["id"] for each in _ada(running).runs()["runs"]]
        # nobody takes anything up any more
        few = {**settings, "LIGHTNING_BULK_ABOVE": "8"}
        with place.installation(data, few, workers=0, clock=False) as accepting:
            story |= _accepted(accepting, story)
        _give_up(accepting, story["bulk"][0])
    return story


def call(running: Installation, client: Client, method: str, path: str, body: object = None) -> Any:
    """Ask for what the client has no word for."""
    answer = httpx2.request(
        method, running.url + path, json=body, headers=client.headers(), trust_env=False, timeout=30
    )
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def _ada(running: Installation) -> Client:
    client = Client(running.url)
    client.log_in("ada", PASSWORD)
    return client


def _busy(running: Installation) -> Story:
    """Do something of everything, and leave some of it under way."""
    _accounts(running)
    with _ada(running) as ada:
        story: Story = {"user": ada.user_id}
        hook = {"url": NOWHERE, "types": ["user.message"], "name": "hook"}
        story["webhook"] = call(running, ada, "POST", "/api/webhooks", hook)["id"]
        call(running, ada, "POST", f"/api/webhooks/{story['webhook']}/rotate")
        scopes = {"name": "a program", "scopes": ["events:write", "events:read"]}
        call(running, ada, "POST", "/api/service-tokens", scopes)
        _repositories(ada)
        return {**story, **_talks(ada), **_tasks(ada), **_schedules(ada)}


def _accounts(running: Installation) -> None:
    with Client(running.url) as client:
        for name in ("ada", "bert", "carl"):
            client.register(name, PASSWORD)
    for arguments in (["role", "bert", "operator"], ["disable", "carl"], ["invite", "--expires-days", "366"]):
        ran = CliRunner(env=for_child(running.settings)).invoke(app, ["users", *arguments])
        assert ran.exit_code == 0, ran.output


def _repositories(ada: Client) -> None:
    ada.create_repository("notes")
    ada.write_file("notes", "first.txt", b"first\n", message="Begin")
    ada.write_file("notes", "first.txt", b"first, and more\n", message="Go on")
    credentials = {"username": "ada", "password": "a password that opens nothing"}
    ada.create_repository("site", url="https://git.example.com/site.git", credentials=credentials)


def _talks(ada: Client) -> Story:
    def say(content: str, **metadata: Any) -> str:
        return ada.wait(ada.send("llm.chat", {"content": content, **metadata}))["id"]

    story: Story = {"talk": ada.create_conversation(title="A talk", systemPrompt="Be brief.")["id"]}
    story["said"] = [say(each, conversationID=story["talk"]) for each in ("Hello", "Is it you?")]
    story["dead"] = [say("this is forbidden")]
    story["told"] = ada.wait(ada.send("user.message", {"content": "Lunch is ready"}))["id"]
    tools = [{"name": "write_files", "approval": "never"}, {"name": "send_message", "approval": "always"}]
    story["tools"] = ada.create_conversation(tools=tools, repo="notes", network="none")["id"]
    say("write it down", conversationID=story["tools"])
    say("tell me", conversationID=story["tools"])
    [approval] = ada.approvals(pending=1)["approvals"]
    ada.decide(approval["id"], "approve", approval["hash"])
    until(lambda: len(ada.messages(story["tools"])["messages"]) >= 5, "the model goes on")
    say("ask me", conversationID=story["tools"])
    [story["approval"]] = [each["id"] for each in ada.approvals(pending=1)["approvals"]]
    forgotten = ada.create_conversation(title="Forgotten")["id"]
    say("forget this", conversationID=forgotten)
    ada.wait(ada.delete_conversation(forgotten))
    # one that is cancelled, one that is worked on, and one that waits for its turn behind it
    cancelled = ada.send("llm.chat", {"content": "hold on to this", "conversationID": "cancelled"})
    until(lambda: ada.event(cancelled["id"])["attempts"] == 1, "it is worked on")
    ada.cancel(cancelled["id"])
    story["cancelled"] = [cancelled["id"]]
    story["claimed"] = ada.send("llm.chat", {"content": "hold on", "conversationID": "held"})["id"]
    story["waiting"] = ada.send("llm.chat", {"content": "And then?", "conversationID": "held"})["id"]
    return story


def echo(text: str, **more: Any) -> dict[str, Any]:
    """Give a task that prints a text."""
    return {"agent": "echo", "input": {"text": text}, "timeoutSeconds": 300, **SMALL, **more}


def _shell() -> dict[str, Any]:
    """Give a task that waits for the model."""
    return {"agent": "openai_shell", "input": "hold on", "timeoutSeconds": 300, **SMALL}


def _tasks(ada: Client) -> Story:
    done = ada.wait(ada.send("worker.task", echo("done", repo="notes", budget={"tokens": 1000})))
    follow = [{"type": "user.message", "metadata": {"content": "All of it is done."}}]
    group = {"tasks": [echo("one", name="one"), echo("two", name="two")], "onSuccess": follow}
    joined = ada.wait(ada.send("worker.group", group), timeout_seconds=60)
    failed = ada.wait(ada.send("worker.task", {"agent": "nobody_has_written_it", **SMALL}))
    going = ada.send("worker.task", _shell())["id"]
    half = {"tasks": [echo("half", name="half"), {**_shell(), "name": "other half"}]}
    return {
        "task": done["id"],
        "group": joined["id"],
        "failed": failed["id"],
        "going": going,
        "going_group": ada.send("worker.group", half)["id"],
    }


def _schedules(ada: Client) -> Story:
    def message(content: str) -> dict[str, Any]:
        return {"type": "user.message", "metadata": {"content": content}}

    soon = datetime.now(UTC) + timedelta(seconds=1)
    ended = ada.create_schedule(message("It was time."), timestamp=soon.isoformat())["id"]
    paused = ada.create_schedule(message("Nobody hears this."), cron="0 9 * * 1-5", timezone="Europe/Berlin")
    # the next hour is over two minutes from now, when nobody runs any more
    begun = datetime.now(UTC) - timedelta(minutes=178)
    hour = message("An hour has passed.")
    hourly = ada.create_schedule(hour, every=3600, startAt=begun.isoformat(), catchUp="latest")["id"]
    once = ada.create_schedule(
        message("Once."), timestamp=(datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    )
    ada.pause_schedule(paused["id"])
    ada.run_schedule(hourly)
    past = {"startAt": begun.isoformat(), "endAt": (begun + timedelta(minutes=90)).isoformat()}
    ada.wait(ada.backfill_schedule(hourly, **past))
    until(lambda: ada.schedule(ended)["state"] == "ended", "it has fired")
    until(lambda: bool(ada.schedule_fires(hourly)["fires"]), "it has fired")
    return {"ended": ended, "paused": paused["id"], "hourly": hourly, "once": once["id"]}


def _accepted(running: Installation, story: Mapping[str, Any]) -> Story:
    """Put something on every queue, which nobody takes."""
    with _ada(running) as ada, Client(running.url) as bert:
        bert.log_in("bert", PASSWORD)
        forgotten = ada.create_conversation(title="To be forgotten")["id"]
        accepted = [
            ada.send("llm.chat", {"content": "Is anybody there?", "conversationID": "accepted"}),
            ada.send("user.message", {"content": "Nobody has told you yet."}),
            ada.send("worker.task", echo("accepted")),
            ada.send("worker.group", {"tasks": [echo("accepted, too")]}),
            ada.delete_conversation(forgotten),
            ada.run_schedule(story["hourly"]),
        ]
        call(running, ada, "POST", f"/api/webhooks/{story['webhook']}/test")
        bulk = [bert.send("user.message", {"content": f"message {n}"})["id"] for n in range(12)]
        return {
            "accepted": [each["id"] for each in accepted],
            "bert": bert.user_id,
            "bulk": bulk,
            "events": _events(ada),
        }


def _events(client: Client) -> dict[str, str]:
    """Give the state of each event of a user."""
    found = client.events(limit=200)["events"]
    return {each["id"]: each["state"] for each in found}


def _give_up(running: Installation, event: str) -> None:
    """Have the queue give up the message of an event, and one of another program."""
    broker = open_broker(running.settings)
    try:
        name = running.settings.servicebus_queue
        declare_queues(broker, name)
        _reject(broker, queue_name(name, "messenger"), "eventID", event)
        foreign = Message(queue_name(name, "eraser"), "eraser", (), {"of": "another program"}, {})
        broker.enqueue(foreign)
        _reject(broker, queue_name(name, "eraser"), "of", "another program")
    finally:
        broker.close()


def _reject(broker: AnyBroker, name: str, argument: str, value: str) -> None:
    """Take messages of a queue until one says so; give that one up, and the others back."""
    consumer = broker.consume(name, prefetch=20, timeout=5000)
    others = []
    for message in consumer:
        assert message is not None, "it is not on the queue"
        if message.kwargs.get(argument) == value:
            consumer.nack(message)
            break
        others.append(message)
    consumer.requeue(others)
    consumer.close()
