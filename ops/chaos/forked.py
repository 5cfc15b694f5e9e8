"""Processes that begin as copies of one that has loaded the platform, which saves most of a start.

A storm starts hundreds of processes, which would spend most of their time loading the same modules. Each is a
process of its own still, with the environment, the session and the signals that it would have otherwise.
"""

from functools import cache

from worker.nursery import Nursery
from worker.supervisor import Process, Running

#: What is loaded before anything is copied. None of it starts a thread.
LOADED = [
    "api.main",
    "worker.main",
    "worker.clock",
    "brokers.servicebus",
    "lightning.client",
    "lightning.llm.openai",
    "lightning.storage.cosmos",
    "ops.cli",
    "ops.doctor",
    "ops.emulated_azure",
    "ops.emulators.arm.server",
    "ops.emulators.cosmos.server",
    "ops.emulators.monitor.server",
    "ops.emulators.openai.server",
    "ops.emulators.servicebus.server",
    "ops.up",
]


def fork(process: Process) -> Running:
    """Start a process of an installation: a copy where Python would run it, else from its command."""
    return _nursery().start(process)


@cache
def _nursery() -> Nursery:
    return Nursery.launched(LOADED)
