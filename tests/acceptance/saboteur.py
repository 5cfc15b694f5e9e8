"""Runs a process of the platform with one promise broken, to see that the harness notices.

Usage: ``python tests/acceptance/saboteur.py SABOTAGE MODULE``. Nothing of the product knows of this.
"""

import asyncio
import ctypes
import importlib
import os
import re
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from actors.chat import Chat
from actors.step import Step
from lightning.domain.runs import Run
from lightning.domain.webhook_health import Admission, WebhookHealth
from lightning.log import EventLog, Void
from lightning.log.change import Changes
from lightning.outbound import Lanes
from lightning.storage import sqlite
from lightning.storage.cosmos import CosmosStorage
from lightning.storage.port import Replace, Upsert
from worker.sweep import Sweep

_tasks = set()


def acknowledge_early():
    """Return, which acknowledges the message, before the work is done."""
    run = Step.run

    async def early(self, message):
        task = asyncio.create_task(run(self, message))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    Step.run = early


def ignore_etags():
    """Write over whatever somebody else has written."""
    for store in (sqlite, CosmosStorage):
        store._apply = careless(store._apply)


def careless(apply):
    """Let a store's write of a batch take no notice of etags."""

    def blind(store, container, partition, operations, **options):
        without = [Upsert(op.body) if isinstance(op, Replace) else op for op in operations]
        return apply(store, container, partition, without, **options)

    return blind


def no_sweep():
    """Never look for what was overlooked."""

    async def nothing(self):
        return 0

    Sweep.round = nothing


def no_wake_check():
    """Take messages of wakes that are over for good ones."""
    judge = EventLog._judge

    def lenient(self, stored, wake):
        verdict = judge(self, stored, wake)
        return judge(self, stored, stored.body["wake"]) if isinstance(verdict, Void) else verdict

    EventLog._judge = lenient


def keep_the_turn():
    """End a message without releasing the one that waits for it."""
    plan = Changes._plan

    async def forgetful(self, *arguments, **options):
        made = await plan(self, *arguments, **options)
        made.released = []
        return made

    Changes._plan = forgetful


def other_names():
    """Call the container of a run by a name that another process does not find it by."""
    Run.name = property(lambda run: f"run-{run.document['id']}-{os.getpid()}")


def no_isolation():
    """Let every delivery have its turn at once."""

    @contextmanager
    def room(self, user_id, endpoint_id):
        yield

    async def admit(self, *who, at_once=False):
        return Admission()

    Lanes.room = room
    WebhookHealth.admit = admit


def _exhaust():
    """Take all memory that the process may have, which is no more than it needs to go on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    held = []
    while True:
        held.append(bytes(2**24))  # of pages that nobody writes to, which takes no time


def poison():
    """Have what somebody says do to the worker what the first word tells."""
    handle = Chat.handle

    async def poisoned(self, event, metadata):
        match metadata.content.split()[0]:
            case "raise":
                raise RuntimeError("a fault of the handler")
            case "segfault":
                ctypes.string_at(0)
            case "memory":
                _exhaust()
            case "killed":  # as by the kernel, when there is no memory left
                os.kill(os.getpid(), signal.SIGKILL)
            case "loop":
                while True:
                    pass
            case "regex":  # an endless loop that does not let go of the interpreter
                re.match(r"(a+)+$", "a" * 64 + "b")
        return await handle(self, event, metadata)

    Chat.handle = poisoned


if __name__ == "__main__":
    sabotage, module = sys.argv[1:]
    globals()[sabotage]()
    importlib.import_module(module).main()
