"""Runs a process of the platform with one promise broken, to see that the harness notices.

Usage: ``python tests/acceptance/saboteur.py SABOTAGE MODULE``. Nothing of the product knows of this.
"""

import asyncio
import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from actors.step import Step
from lightning.domain.webhook_health import Admission, WebhookHealth
from lightning.log import EventLog, Void
from lightning.log.change import Changes
from lightning.outbound import Lanes
from lightning.storage import sqlite
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
    apply = sqlite._apply

    def careless(connection, container, partition, operations):
        blind = [Upsert(op.body) if isinstance(op, Replace) else op for op in operations]
        return apply(connection, container, partition, blind)

    sqlite._apply = careless


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


def no_isolation():
    """Let every delivery have its turn at once."""

    @contextmanager
    def room(self, user_id, endpoint_id):
        yield

    async def admit(self, *who, at_once=False):
        return Admission()

    Lanes.room = room
    WebhookHealth.admit = admit


if __name__ == "__main__":
    sabotage, module = sys.argv[1:]
    globals()[sabotage]()
    importlib.import_module(module).main()
