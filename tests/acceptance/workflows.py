"""What the acceptance tests of whole workflows share: a model with a plan, a death on the way, and a judge.

Nothing of the log is believed: what the model was asked is read from the scripted model, commits from the
history of the repository, starts of containers from the runner.
"""

import random
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import httpx2

from lightning.client import Client, ClientError
from lightning.client.shapes import CommitTold, Frame, RunFrame
from ops.chaos.installation import PASSWORD, Installation, ModelServer, until
from tests.acceptance.runners import Starts

#: How long a workflow may take until the next thing is seen; a quiet machine needs a tenth of it.
PATIENCE_SECONDS = 150


def reply(text: str, *calls: dict[str, Any], require: Sequence[str] = (), **step: Any) -> dict[str, Any]:
    """Give one answer of the model, with the calls that it makes, and the facts without which it fails."""
    return {"reply": text, "tool_calls": list(calls), "require": list(require), **step}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def dialogue(asked: str, *replies: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the steps of a model that is asked something, and goes on from what it has said before.

    What it said decides where it stands, never how often it was asked: whoever asks it again after a crash
    gets the same answer. Of one conversation, the later dialogue stands first in the script.
    """
    said = [{"contains": [asked, each["reply"]]} for each in replies[:-1]]
    met = [{"last_contains": [asked]}, *said]
    return [{**where, **step} for where, step in zip(met, replies, strict=True)][::-1]


def shell(asked: str, command: str, shows: str, summary: str, *, succeeded: bool = True, **first: Any):
    """Give the steps of a shell agent that runs one command of its repository, and must see what it shows."""
    said = f"As asked: {asked}"
    return dialogue(
        asked,
        reply(said, call("bash", command=command), **first),
        reply("", call("finish", succeeded=succeeded, summary=summary), require=[shows]),
    )


def work(name: str, asked: str, **more: Any) -> dict[str, Any]:
    """Give the arguments by which a model has a shell agent work on the repository."""
    named = {"name": name} if name else {}
    return {**named, "agent": "openai_shell", "input": asked, "onRepository": True, **more}


class Workflow:
    """One workflow of one user: its model is scripted, and one process is killed on the way.

    Parameters:
      running: The installation, which others may have used before.
      model: Its model.
      name: Of its user and of its repository.
      files: What is in the repository.
      steps: What the model does.
    """

    def __init__(
        self, running: Installation, model: ModelServer, name: str, files: dict[str, str], steps: list
    ):
        self.running, self.model, self.name, self._steps = running, model, name, steps
        assert model.control.post("/control/script", json=steps).status_code == 200
        model.control.delete("/control/requests")
        self.client: Client = running.user(name)
        self.client.create_repository(name)
        texts = [{"path": path, "text": text} for path, text in files.items()]
        self._first = self.client.commit_files(name, message="What is there", files=texts)["commit"]
        self._starts = Starts(None, running)
        self.frames: list[Frame] = []
        seed = random.SystemRandom().randrange(2**32)
        chance = random.Random(seed)
        self.victim = chance.choice(running.names())
        self._after = chance.randint(1, len(steps) - 2)
        self._pause = chance.uniform(0, 0.3)
        self._killed = threading.Event()
        self._over = threading.Event()
        self._killer = threading.Thread(target=self._kill, daemon=True)
        print(f"seed {seed}: {self.victim} dies {self._pause:.2f} s behind request {self._after}")

    def _kill(self) -> None:
        while not self._over.wait(0.05):
            if self.model.calls() >= self._after:
                self._over.wait(self._pause)
                until(lambda: self.running.signal(self.victim, signal.SIGKILL), "it is there to be killed")
                self._killed.set()
                return

    def __enter__(self) -> Self:
        self._starts.__enter__()
        self._killer.start()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._explain()
        self._over.set()
        self._killer.join()
        self._starts.__exit__(*error)
        self.client.close()

    def _explain(self) -> None:
        """Print what was asked, for whoever reads why it failed."""
        for each in self.model.control.get("/control/requests").json()["requests"]:
            last = each["body"]["messages"][-1]
            print(each["step"], each["status"], each["outcome"], each["missing"], str(last)[-600:])

    def converse(self, **policies: str) -> str:
        """Make a conversation whose model has tools, and may use each as its policy says; give its id."""
        tools = [{"name": name, "approval": policy} for name, policy in policies.items()]
        return self.client.create_conversation(tools=tools, repo=self.name, network="none")["id"]

    def say(self, conversation: str, content: str) -> dict[str, Any]:
        return self.client.send("llm.chat", {"content": content, "conversationID": conversation})

    def sees(self, what: str, look) -> Any:
        """Wait until a look shows something; the ingress may be away meanwhile."""
        found: list[Any] = []

        def looks() -> bool:
            self._over.wait(0.1)  # the machine has other things to do
            asked = self.model.control.get("/control/requests", params={"summary": 1}).json()
            assert not asked["missing"] + asked["unscripted"], "the model lacks a fact, or knows no answer"
            try:
                found[:] = [look()]
            except ClientError as error:
                if error.status is not None and error.status < 500:
                    raise
                return False
            return bool(found[0])

        until(looks, what, seconds=PATIENCE_SECONDS)
        return found[0]

    def agrees(self, tool: str) -> dict[str, Any]:
        """Approve the one thing that waits for its user, and give its arguments."""
        waiting = self.sees(f"{tool} waits", lambda: self.client.approvals(pending=1)["approvals"])
        [approval] = waiting
        assert approval["tool"] == tool
        assert self.client.decide(approval["id"], "approve", approval["hash"])["state"] == "approved"
        return approval["arguments"]

    def answered(self, conversation: str, text: str) -> str:
        """Wait for an answer that has a text, and give all of it."""

        def look() -> list[str]:
            self.model.release()  # whatever was waited for is there
            return [each for each in self.answers(conversation) if text in each]

        [answer] = self.sees(f"the answer {text!r}", look)
        return answer

    def answers(self, conversation: str) -> list[str]:
        found = self.client.messages(conversation)["messages"]
        return [each["metadata"]["content"] for each in found if each["type"] == "llm.chat.response"]

    def watch(self, last: str) -> None:
        """Follow the stream, as somebody does who looks on, until an answer comes that has a text."""
        self._watcher = threading.Thread(target=self._watch, args=[last], daemon=True)
        self._watcher.start()

    def _watch(self, last: str) -> None:
        with Client(self.running.url) as client:
            client.log_in(self.name, PASSWORD)
            for frame in client.watch():
                self.frames.append(frame)
                if isinstance(frame, dict) and last in frame["metadata"].get("content", ""):
                    return

    def watched(self) -> list[str]:
        """Give what was seen, when all of it was: the kinds of live frames, and the texts of events."""
        self.sees("all was looked on", lambda: not self._watcher.is_alive())
        texts = (
            each["metadata"].get("content", "") if isinstance(each, dict) else "" for each in self.frames
        )
        kinds = (each.kind if isinstance(each, RunFrame) else "" for each in self.frames)
        return [text or kind for text, kind in zip(texts, kinds, strict=True)]

    def posts_messages_to(self, url: str) -> None:
        """Have messages posted to a receiver."""
        asked = {"url": url, "types": ["user.message"]}
        answer = httpx2.post(
            f"{self.running.url}/api/webhooks", json=asked, headers=self.client.headers(), trust_env=False
        )
        assert answer.status_code == 201, answer.text

    def told(self) -> list[str]:
        """Give the messages that the user got, the first one first."""
        found = self.client.events(type="user.message")["events"]
        return [each["metadata"]["content"] for each in found]

    def _going_on(self) -> list[dict[str, Any]]:
        """Give what is not over; approvals expire hours later, decided or not."""
        found = self.client.events(state="accepted", limit=100)["events"]
        return [each for each in found if each["type"] != "approval.expiry"]

    def ended(self) -> int:
        """Count the tasks that are over."""
        return len(self.client.events(type="worker.task.result")["events"])

    def commits(self, **where: str) -> list[CommitTold]:
        """Give what was committed since it began, the newest first."""
        found = self.client.repository_log(self.name, limit=100, **where)["commits"]
        return [each for each in found if each["id"] != self._first]

    def file(self, path: str) -> str:
        return self.client.read_file(self.name, path).decode()

    def judge(self, *, runs: int, commits: int, side_by_side: int = 1) -> None:
        """Check from outside that everything was done, and nothing twice.

        Parameters:
          runs: Runs that there are.
          commits: Commits that they, and the tools of the conversation, made.
          side_by_side: Answers that may have been on their way when the process died.
        """
        self.sees("its process was killed", self._killed.is_set)
        self.sees("all is over", lambda: not self._going_on())
        # each step was taken; a second time only where the process that died had not noted the answer
        requests = self.model.control.get("/control/requests").json()["requests"]
        assert [(each["step"], each["missing"]) for each in requests if each["missing"]] == []
        taken = Counter(each["step"] for each in requests)
        assert set(taken) == set(range(len(self._steps))), taken
        assert taken.total() - len(self._steps) <= side_by_side, taken
        # one container of each run
        found = self.client.runs(limit=100)["runs"]
        assert (len(found), self._starts.count()) == (runs, runs), found
        # one commit of each run that made one, and of each call
        made = self.commits()
        causes = Counter((each["runID"], each["eventID"]) for each in made)
        assert (len(made), set(causes.values())) == (commits, {1}), made
        assert sum(each["commit"] is not None for each in found) == sum(run is not None for run, _ in causes)
