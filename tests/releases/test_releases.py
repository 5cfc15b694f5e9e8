"""What released versions have stored is read, and gone on with, by this one.

A test here that fails tells that documents or messages were changed in a way that loses what an installation
holds when it is upgraded: see "A change of what is stored" in CONTRIBUTING.md.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lightning.client import Client
from lightning.settings import for_child
from ops.chaos.installation import Installation, ModelServer, until
from ops.cli import app
from tests.receiver import Receiver, receiving
from tests.releases.life import PASSWORD, SETTINGS, Story, call
from tests.releases.places import EXPORT, KEYS, KINDS, RELEASES, Place, place

pytestmark = pytest.mark.timeout(240)

KEPT = sorted(folder.name for folder in RELEASES.iterdir() if folder.name[0].isdigit())

PATIENCE_SECONDS = 40

#: Under way for years, and rightly so.
FOR_LATER = {"approval.expiry"}

SCRIPT = [
    {"contains": ["ask me", "I ask."], "require": ["It is sent."], "reply": "You agreed."},
    {"last_contains": ["forbidden"], "reply": "Now I may."},
]

QUICK = {
    **SETTINGS,
    "LIGHTNING_WEBHOOK_RETRIES": ",".join(["0.5"] * 20),
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_LEASE_SECONDS": "2",
}


@dataclass
class Upgraded:
    """What a release left, with this version on it.

    Parameters:
      story: What was made then.
      running: The installation; nobody works in it yet when it is made.
      client: The user to whom most of it belongs.
      events: Their events, as they were found.
      receiver: Where webhooks lead now.
      model: The language model now.
    """

    story: Story
    running: Installation
    client: Client
    events: dict[str, Any]
    receiver: Receiver
    model: ModelServer

    def again(self) -> dict[str, Any]:
        """Give all events as they are now."""
        return everything(self.client)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask for what the client has no word for."""
        return call(self.running, self.client, method, path, body)


def everything(client: Client) -> dict[str, Any]:
    """Give all events of a user by their ids."""
    found, after = list[Any](), 0
    while page := client.events(limit=100, after=after)["events"]:
        found += page
        after = page[-1]["seq"]
    return {each["id"]: each for each in found}


def logged_in(running: Installation, name: str = "ada") -> Client:
    client = Client(running.url)
    client.log_in(name, PASSWORD)
    return client


def command(running: Installation, *arguments: str) -> Any:
    """Run a command on the stores of an installation; give what it prints."""
    ran = CliRunner(env=for_child(running.settings)).invoke(app, [*arguments, "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


@pytest.fixture(scope="module", params=[f"{kept}-{kind}" for kept in KEPT for kind in (*KINDS, "backup")])
def lived(request, tmp_path_factory) -> Iterator[tuple[Place, Path, Story]]:
    """Bring a release back to life: where it is, its data directory, and its story.

    The backup is one of SQLite, made by the release, and restored into an empty account of Cosmos DB beside
    an empty queue, by the steps of docs/backup.md.
    """
    kept, _, kind = request.param.rpartition("-")
    folder = RELEASES / kept / ("sqlite" if kind == "backup" else kind)
    story = json.loads((folder / "story.json").read_text())
    data = tmp_path_factory.mktemp("kept") / "data"
    data.mkdir()
    with place("azure" if kind == "backup" else kind) as there:
        if kind == "backup":
            _restore_backup(folder, there, data, tmp_path_factory.mktemp("backup"))
        else:
            there.restore(folder, data)
        yield there, data, story


def _restore_backup(folder: Path, there: Place, data: Path, backups: Path) -> None:
    before = backups / "data"
    before.mkdir()
    with place("sqlite") as old:
        old.restore(folder, before)
    source = {**KEYS, "LIGHTNING_DATA": str(before)}
    target = {**KEYS, **there.environment(), "LIGHTNING_DATA": str(data)}
    # what is exported now, and what was exported then
    monday, then = str(backups / "monday"), str(backups / "then")
    Path(then).mkdir()
    # Python knows how to do so safely from 3.11.4 on only
    subprocess.run(["tar", "-xf", folder.parent / EXPORT, "-C", then], check=True)
    steps = [(source, "check"), (source, "export", monday), (target, "import", then), (target, "check")]
    for environment, *step in steps:
        ran = CliRunner(env=environment).invoke(app, ["storage", *step])
        assert ran.exit_code == 0, ran.output


@pytest.fixture(scope="module")
def still(lived, tmp_path_factory) -> Iterator[Upgraded]:
    """Serve it by this version, while nobody works."""
    there, data, story = lived
    with (
        ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as model,
        receiving() as receiver,
        there.installation(data, {**QUICK, **model.environment()}, workers=0, clock=False) as running,
        logged_in(running) as client,
    ):
        yield Upgraded(story, running, client, everything(client), receiver, model)


@pytest.fixture(scope="module")
def gone_on(lived, still) -> Iterator[Upgraded]:
    """Let this version work on it, with an endpoint that answers and an approval that is given."""
    there, data, story = lived
    before = still.again()
    still.ask("PATCH", f"/api/webhooks/{story['webhook']}", {"url": f"{still.receiver.url}/ok"})
    approval = still.client.approval(story["approval"])
    still.client.decide(approval["id"], "approve", approval["hash"])
    environment = {**QUICK, **still.model.environment()}
    with there.installation(data, environment) as running, logged_in(running) as client:
        upgraded = Upgraded(story, running, client, before, still.receiver, still.model)
        until(lambda: not under_way(client), "all that was under way is over", seconds=PATIENCE_SECONDS)
        yield upgraded


def under_way(client: Client) -> list[str]:
    found = client.events(state="accepted", limit=200)["events"]
    return [each["id"] for each in found if each["type"] not in FOR_LATER]


def said(upgraded: Upgraded, conversation: str) -> list[str]:
    """Give what was said in a conversation, the first first."""
    found = upgraded.client.messages(conversation, limit=100)["messages"]
    return [each["metadata"]["content"] for each in reversed(found)]


def told(upgraded: Upgraded) -> Counter[str]:
    """Count the messages that the user got, by their text."""
    found = upgraded.client.events(type="user.message", limit=200)["events"]
    return Counter(each["metadata"]["content"] for each in found)


class TestWhatIsThere:
    """Before anybody works, it is what it was."""

    def test_each_event_in_its_state(self, still):
        assert {event: each["state"] for event, each in still.events.items()} == still.story["events"]
        assert all(still.client.event(event)["id"] == event for event in still.events)
        [dead] = still.story["dead"]
        assert still.client.event(dead)["error"]["code"] == "model_refused"

    def test_each_user_logs_in_unless_disabled(self, still):
        assert still.client.user_id == still.story["user"]
        with logged_in(still.running, "bert") as bert:
            assert bert.user_id == still.story["bert"]
        users = command(still.running, "users", "list")
        assert {each["username"]: (each["role"], each["disabled"]) for each in users} == {
            "ada": ("user", False), "bert": ("operator", False), "carl": ("user", True)
        }  # fmt: skip

    def test_what_was_said(self, still):
        assert said(still, still.story["talk"]) == [
            "Hello",
            "You said: Hello",
            "Is it you?",
            "You said: Is it you?",
        ]
        talk = still.client.conversation(still.story["talk"])
        assert (talk["title"], talk["systemPrompt"]) == ("A talk", "Be brief.")
        [approval] = still.client.approvals(pending=1)["approvals"]
        assert approval["arguments"] == {"content": "You agreed to it."}

    def test_runs_and_their_logs(self, still):
        runs = {each["id"]: each for each in still.client.runs(limit=100)["runs"]}
        assert set(still.story["runs"]) <= set(runs)
        done = [each for each in runs.values() if each["taskID"] == still.story["task"]]
        assert [each["status"] for each in done] == ["succeeded"]
        assert "done" in still.client.run_log(done[0]["id"])["text"]
        tree = still.client.tree(still.story["group"])["events"]
        assert Counter(each["type"] for each in tree)["worker.task.result"] == 2

    def test_repositories(self, still):
        client = still.client
        assert {each["name"] for each in client.repositories()} == {"notes", "site"}
        assert client.read_file("notes", "said.txt") == b"said\n"
        assert [each["message"] for each in client.repository_log("notes")["commits"]][-2:] == [
            "Go on",
            "Begin",
        ]
        assert client.repository("site")["credentials"]

    def test_schedules(self, still):
        states = {each["id"]: each["state"] for each in still.client.schedules()["schedules"]}
        names = {name: states[still.story[name]] for name in ("ended", "paused", "hourly", "once")}
        assert names == {"ended": "ended", "paused": "paused", "hourly": "active", "once": "active"}
        assert len(still.client.schedule_fires(still.story["hourly"])["fires"]) >= 3

    def test_webhooks_and_their_deliveries(self, still):
        [hook] = still.ask("GET", "/api/webhooks")["webhooks"]
        found = still.ask("GET", f"/api/webhooks/{hook['id']}/deliveries")["deliveries"]
        assert any(each["attempts"] for each in found)

    def test_pages(self, still):
        assert still.ask("GET", "/api/service-tokens")["serviceTokens"] is not None
        assert still.ask("GET", "/api/sessions")["sessions"]

    def test_it_agrees_with_itself(self, still):
        assert command(still.running, "storage", "check")["findings"] == []


class TestWhatGoesOn:
    """Once this version works, all comes to its end, and nothing is done twice."""

    def test_what_was_under_way_ends_once(self, gone_on):
        now = gone_on.again()
        begun = [event for event, each in gone_on.events.items() if each["state"] == "accepted"]
        ended = {
            now[event]["type"]: now[event]["state"] for event in begun if now[event]["type"] not in FOR_LATER
        }
        assert set(ended.values()) == {"done"}, {
            event: now[event] for event in begun if now[event]["state"] != "done"
        }
        answers = Counter(each["cause"] for each in now.values() if each["type"] == "llm.chat.response")
        assert {answers[gone_on.story[name]] for name in ("claimed", "waiting")} == {1}
        results = Counter(each["cause"] for each in now.values() if each["type"] == "worker.task.result")
        tasks = {event for event, each in now.items() if each["type"] == "worker.task"}
        assert results == dict.fromkeys(tasks, 1)

    def test_what_was_done_is_not_done_again(self, gone_on):
        now = gone_on.again()
        over = [event for event, each in gone_on.events.items() if each["state"] != "accepted"]
        shown = ("state", "metadata", "attempts", "outputs", "seq")
        changed = [
            id for event in over if any(now[event][each] != gone_on.events[event][each] for each in shown)
        ]
        # the turn that an approval was waited for in has another answer now
        assert {now[event]["type"] for event in changed} <= {"llm.chat"}

    def test_the_conversation_is_answered_in_turn(self, gone_on):
        said_there = ["hold on", "And then?", "You said: hold on", "You said: And then?"]
        assert said(gone_on, "held") == said_there

    def test_what_was_agreed_to_is_done(self, gone_on):
        assert said(gone_on, gone_on.story["tools"])[-1] == "You agreed."
        assert told(gone_on)["You agreed to it."] == 1

    def test_webhooks_are_delivered_once(self, gone_on):
        posts = Counter(each.id for each in gone_on.receiver.to("/ok"))
        assert set(posts.values()) == {1}
        # under the ids that they had before
        begun = {event for event, each in gone_on.events.items() if each["type"] == "webhook.delivery"}
        assert begun <= set(posts)
        texts = Counter(each.json["data"]["metadata"].get("content") for each in gone_on.receiver.to("/ok"))
        assert texts["Lunch is ready"] == texts["Nobody has told you yet."] == 1

    def test_schedules_fire_as_they_say(self, gone_on):
        # the missed one, and of the missed hours the latest
        heard = told(gone_on)
        assert (heard["Once."], heard["It was time."], heard["Nobody hears this."]) == (1, 1, 0)
        hours = gone_on.client.schedule_fires(gone_on.story["hourly"], limit=100)["fires"]
        assert Counter(each["slot"] for each in hours).most_common(1)[0][1] <= 2, "one, and its backfill"
        later = gone_on.client.schedule(gone_on.story["hourly"])
        assert later["state"] == "active"
        assert later["nextFires"]

    def test_what_was_in_bulk_is_done(self, gone_on):
        with logged_in(gone_on.running, "bert") as bert:
            until(lambda: not under_way(bert), "all of it is done")
            states = [bert.event(event)["state"] for event in gone_on.story["bulk"]]
            # the first had been given up by the queue, which is told, unless it is announced again before
            assert set(states[1:]) == {"done"}
            assert states[0] in {"done", "dead"}

    def test_the_dead_are_replayed(self, gone_on):
        [dead] = gone_on.story["dead"]
        gone_on.client.replay(dead)
        over = gone_on.client.wait(gone_on.client.event(dead))
        assert (over["state"], over["error"]) == ("done", None)

    def test_it_agrees_with_itself(self, gone_on):
        assert command(gone_on.running, "storage", "check")["findings"] == []

    def test_what_the_queue_gave_up(self, gone_on, request):
        # a message of another program stays for people to see; with the queue, it is lost
        left = 0 if "backup" in request.node.callspec.id else 1

        def letters():
            return command(gone_on.running, "deadletters", "list")

        until(lambda: len(letters()) == left, "our own are told as events", seconds=60)
        assert ["another program" in each["body"] for each in letters()] == [True] * left
