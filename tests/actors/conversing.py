"""Conversations with tools in this process: a real store, real repositories, and messages handed on here."""

import json
import time
from pathlib import Path

from actors.chat import Chat
from actors.chat_answers import ChatAnswers
from actors.messenger import Messenger
from actors.step import Step
from actors.task_joins import TaskJoins
from lightning.domain.conversations import Conversations
from lightning.domain.webhooks import Webhooks
from lightning.events import Draft, now_text
from lightning.ids import new_id, run_id
from lightning.live import Notifier
from lightning.llm import ChatMessage, Completion, LanguageModel, TextDelta, ToolCall, Usage
from lightning.log import Dispatch, EventLog, wakeup
from lightning.outbound import Guard
from lightning.repositories import Change
from lightning.storage import Where
from tests.actors.tasks import Dying
from tests.chat_tools import tools_of
from tests.memory_queue import MemoryQueue
from tests.stores import storage_of

#: Every tool, and nobody is asked.
FREELY = [
    {"name": name, "approval": "never"}
    for name in (
        *("list_files", "read_file", "search_files", "write_files"),
        *("run_agent", "run_agents", "list_runs", "send_message", "schedule"),
    )
]


def call(name, /, id=None, **arguments):
    """Make a call of a tool, as a model writes it."""
    return ToolCall(id or f"{name}-{json.dumps(arguments)[:40]}", name, json.dumps(arguments))


class ScriptedModel(LanguageModel):
    """Replies what it was told to, one after the other: a text, or calls; remembers what it was shown."""

    provider = "test"
    model = "test-small"

    def __init__(self):
        self.script = []
        self.shown: list[list[ChatMessage]] = []
        self.offered = []
        self.options = []

    async def stream(self, messages, *, model=None, tools=(), options=None):
        self.shown.append(list(messages))
        self.offered.append([tool.name for tool in tools])
        self.options.append(options)
        reply = self.script.pop(0) if self.script else "Done."
        if isinstance(reply, Exception):
            raise reply
        text, calls = (reply, ()) if isinstance(reply, str) else ("", tuple(reply))
        if text:
            yield TextDelta(text)
        yield Completion(text, "test-small-1", Usage(10, 5, 15), "tool_calls" if calls else "stop", calls)

    async def close(self) -> None:
        pass


class World:
    """One user's platform, without runs: a test says how each ends."""

    def __init__(
        self,
        data: Path,
        *,
        crash=None,
        model=None,
        claim_seconds=1.0,
        clock=time.time,
        max_attempts=5,
        git_allow="",
        **limits,
    ):
        self.data = data
        self.storage = storage_of(data / "store")
        self.log = EventLog(self.storage, clock=clock)
        self.queue = MemoryQueue()
        self.dispatch = Dispatch(self.log, self.queue)
        self.model = model or ScriptedModel()
        self.conversations = Conversations(self.storage, self.log)
        self.tools = tools_of(self.storage, self.log, self.dispatch, data, git_allow=git_allow, **limits)
        self.repositories = self.tools.parts.repositories
        self.crash = crash or Dying()
        self.chat = Chat(self.log, self.model, self.conversations, self.tools, crash=self.crash)
        answers = ChatAnswers(self.tools.turns)
        webhooks = Webhooks(self.storage, Guard.allowing(""))
        joins = TaskJoins(self.log, self.dispatch)
        self.messenger = Messenger(Notifier(None, "whsec_" + "A" * 32), webhooks, joins, answers)
        self.step = Step(
            self.log,
            self.dispatch,
            {"chat": self.chat, "messenger": self.messenger},
            owner=new_id(),
            claim_seconds=claim_seconds,
            max_attempts=max_attempts,
            crash=self.crash,
        )

    async def close(self):
        await self.storage.close()

    async def converse(self, *, tools=FREELY, repo=True, **properties):
        """Make a conversation, with a repository that holds one file."""
        if repo:
            known = await self.repositories.create("anna", "notes")
            await self.repository(known).commit(
                [change("a.txt", "one\ntwo\n")], message="begin", author="anna"
            )
            properties["repo"] = known.id
        await self.conversations.create("anna", "c", {"tools": tools, **properties})

    def repository(self, known):
        return self.repositories.open("anna", known)

    async def commits(self):
        [known] = await self.repositories.of("anna")
        return (await self.repository(known).log()).commits

    async def say(self, content="Please."):
        """Say something in the conversation, and work until nothing is left to do but runs."""
        draft = Draft(
            new_id(), "llm.chat", "test", {"content": content, "conversationID": "c"}, now_text(), {}
        )
        [event] = await self.log.append("anna", [draft])
        await self.dispatch.announce([wakeup(event)])
        await self.work()
        return event["id"]

    async def work(self):
        """Hand on messages until only those are left that nobody here works on, or that are due later."""
        kept = []
        while messages := self.queue.take():
            for message in messages:
                if message.actor not in {"chat", "messenger"} or message.delay_seconds > 10:
                    kept.append(message)
                else:
                    await self.step.run(message)
        self.queue.sent = kept

    async def events(self, *types):
        found = await self.log.events("anna", [Where("type", "in", types)] if types else [])
        return list(found)

    async def responses(self):
        return [each["metadata"] for each in await self.events("llm.chat.response")]

    async def end(self, task, result="done", *, status="succeeded"):
        """End a task, or a group of them, as its actor does, and work on what follows."""
        await self.dispatch.announce(await self.ended(task, result, status=status))
        await self.work()

    async def ended(self, task, result="done", *, status="succeeded"):
        """End a task, or a group of them, and give the messages of what follows."""
        metadata = {"status": status, "message": ""}
        if task["type"] == "worker.group":
            one = {"name": "all", "taskID": new_id(), **metadata, "result": result}
            metadata |= {"groupID": task["id"], "results": [one]}
        else:
            metadata |= {"taskID": task["id"], "runID": run_id(task["id"]), "result": result}
        draft = Draft(new_id(), f"{task['type']}.result", "lightning.tasks", metadata, now_text(), {})
        claim = await self.log.claim("anna", task["id"], 0, "runner", 10)
        return [wakeup(each) for each in await self.log.end(claim, "done", outputs=[draft])]

    def told(self, place=-1):
        """Give what the model was told of its calls, when it was asked for the n-th time."""
        return [message.content for message in self.model.shown[place] if message.role == "tool"]


def change(path, text):
    return Change(path, text.encode())
