"""Tasks in this process: a real store, a real sandbox, and messages that a test hands on."""

import asyncio
import shutil
import time

from actors.chat_answers import ChatAnswers
from actors.messenger import Messenger
from actors.step import Step
from actors.task_group import TaskGroup
from actors.task_joins import TaskJoins
from actors.task_runner import TaskRunner
from lightning.containers.sandbox import SandboxRunner
from lightning.domain.budgets import Budgets
from lightning.domain.repositories import Repositories
from lightning.domain.run_reports import RunReports
from lightning.domain.runs import Runs
from lightning.domain.turns import Turns
from lightning.domain.webhooks import Webhooks
from lightning.events import Draft, now_text, read_envelope
from lightning.ids import new_id
from lightning.live import Notifier
from lightning.log import Dispatch, EventLog, wakeup, wakeups
from lightning.log.turns import new_conversation
from lightning.outbound import Guard
from lightning.repositories import RepositoryStore
from lightning.sealing import Sealer
from lightning.storage import Create
from lightning.tasks import TaskMetadata
from tests.memory_queue import MemoryQueue
from tests.stores import storage_of
from worker.agent_home import sandbox_agents, sandbox_mounts

PATIENCE_SECONDS = 60.0

#: So small that many fit on a machine that tests share.
SMALL = {"cpu": 1, "memoryMiB": 64, "diskMiB": 8, "pids": 16}


SLEEPER = {"agent": "sleeper"}

OFFLINE = {"network": "none", "resources": SMALL}

#: Agents for tests, beside the installation's own.
AGENTS = {
    "sleeper": "import time\n\n\ndef run(task):\n    time.sleep(600)\n",
    "reader": "def run(task):\n    for path in task['input']:\n        print(open(path).read().strip())\n",
    "glutton": "def run(task):\n    held = [bytearray(1 << 20) for _ in range(1 << 12)]\n",
}


def mounts(folder):
    """Show runs the installation's agents and those that end badly."""
    own = sandbox_mounts()
    [place] = [seen for seen in own if seen.endswith("/agents")]
    if not folder.exists():
        shutil.copytree(own[place], folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name, program in AGENTS.items():
            (folder / f"{name}.py").write_text(program)
    return {**own, place: folder}


class Killed(BaseException):
    """Stands for the death of the process, which nothing catches."""


class Dying:
    """Kills the process at a point, once."""

    def __init__(self, point=None):
        self.point = point

    def __call__(self, reached):
        if reached == self.point:
            self.point = None
            raise Killed(reached)


class Counting:
    """A runner that counts the containers that really began, and may be told to refuse their start."""

    def __init__(self, runner):
        self._runner = runner
        self.began = set()
        self.refusals = []

    def __getattr__(self, name):
        return getattr(self._runner, name)

    async def start(self, spec):
        if self.refusals:
            raise self.refusals.pop(0)
        await self._runner.start(spec)

    async def status(self, name):
        status = await self._runner.status(name)
        if status.started_at is not None:
            self.began.add((name, status.started_at))
        return status


class Installation:
    """One process over a data directory; its containers are in ``data / "runs"``, unless told otherwise.

    ``sweeps``: after each death all that is not over is announced once more, as the clock does it in the end.
    """

    sweeps = False

    def __init__(
        self, data, *, crash=None, room=None, store="store", notifier=None, looks=None, attempts=5, **sandbox
    ):
        self.data = data
        self.storage = storage_of(data / store)
        self.log = EventLog(self.storage)
        self.queue = MemoryQueue()
        self.dispatch = Dispatch(self.log, self.queue)
        self.runs = Runs(self.storage)
        self.runner = Counting(
            SandboxRunner(data / "runs", images=data / "images", mounts=mounts(data / "agents"), **sandbox)
        )
        self.crash = crash or Dying()
        self.budgets = Budgets(self.storage)
        self.reports = RunReports(self.storage)
        store = RepositoryStore(self.storage, data / "repos")
        self.repositories = Repositories(self.storage, store, Sealer(None, None), Guard.allowing(""))
        self.task_runner = TaskRunner(
            self.runs,
            self.reports,
            self.runner,
            sandbox_agents(),
            self.dispatch.follow_ended,
            notifier=notifier,
            looks=looks,
            room=room,
            budgets=self.budgets,
            repositories=self.repositories,
            crash=self.crash,
        )
        messenger = Messenger(
            Notifier(None, "whsec_" + "A" * 32),
            Webhooks(self.storage, Guard.allowing("")),
            TaskJoins(self.log, self.dispatch),
            ChatAnswers(Turns(self.storage)),
        )
        actors = {
            "task_runner": self.task_runner,
            "task_group": TaskGroup(self.log, self.dispatch, self.runs, self.budgets, crash=self.crash),
            "messenger": messenger,
        }
        self.step = Step(
            self.log,
            self.dispatch,
            actors,
            owner="me",
            claim_seconds=1.0,
            backoff_seconds=0.1,
            max_attempts=attempts,
            crash=self.crash,
        )

    async def post(self, *, user="anna", **changes):
        """Record a task, of the echo unless told otherwise, and announce it."""
        task = {"agent": "echo", "resources": SMALL, "network": "none", **changes}
        metadata = TaskMetadata.model_validate(task).model_dump(mode="json", exclude_none=True)
        draft = Draft(new_id(), "worker.task", "test", metadata, now_text(), {})
        [event] = await self.log.append(user, [draft])
        await self.dispatch.announce([wakeup(event)])
        return event["id"]

    async def post_group(self, *tasks, **changes):
        """Record a group of tasks, of the echo unless told otherwise, and announce it."""
        asked = [{"agent": "echo", **OFFLINE, **each} for each in tasks]
        event = {"timestamp": now_text(), "source": "test", "type": "worker.group", "userID": "anna"}
        metadata = read_envelope({**event, "metadata": {"tasks": asked, **changes}}).metadata
        draft = Draft(new_id(), "worker.group", "test", metadata, now_text(), {})
        [event] = await self.log.append("anna", [draft])
        await self.dispatch.announce([wakeup(event)])
        return event["id"]

    async def delete_conversation(self, name):
        """Leave a conversation as it is while it is being deleted."""
        document = {**new_conversation("anna", name), "deleted": True}
        await self.storage.batch("events", "anna", [Create(document)])

    async def deliver(self, until):
        """Hand on each message when it is due, until a condition holds or nothing is left."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = []
        while True:
            now = time.monotonic()
            waiting += [(now + message.delay_seconds, message) for message in self.queue.take()]
            if await until():
                self.queue.sent = [message for _, message in waiting]
                return
            assert waiting, "nobody will look at it again"
            assert now < deadline, "it took too long"
            waiting.sort(key=lambda each: each[0])
            due, message = waiting.pop(0)
            await asyncio.sleep(max(0.0, due - now))
            try:
                await self.step.run(message)
            except Killed:
                waiting.append((time.monotonic(), message))  # who died had not acknowledged it
                if self.sweeps:
                    await self.dispatch.announce(wakeups(await self.events()))

    async def over(self, *events):
        """Deliver until events, and all that follows from them, are over."""

        async def condition():
            found = await self.events()
            return all(each["state"] != "accepted" for each in found if each["root"] in events)

        await self.deliver(condition)

    async def running(self, event):
        """Deliver until the command of a task runs."""

        async def condition():
            run = await self.runs.of_task("anna", event)
            return run is not None and run.document["startedAt"] is not None

        await self.deliver(condition)

    async def events(self):
        return await self.log.events("anna", limit=1000)

    async def results(self, event):
        found = await self.events()
        return [each for each in found if each["type"] == "worker.task.result" and each["cause"] == event]

    async def result(self, event):
        """Give what the one result of a task says."""
        [result] = await self.results(event)
        return result["metadata"]

    async def containers(self):
        return [each.name async for each in self.runner.list()]
