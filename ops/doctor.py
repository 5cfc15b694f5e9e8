"""`lightning doctor`: what is in order on this machine, and what is not."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dramatiq.errors import BrokerError

from brokers import declare_queues, open_broker
from lightning.client import Client, ClientError
from lightning.containers import Limits, RunSpec, RunStatus
from lightning.errors import LightningError
from lightning.log import EventLog
from lightning.settings import Settings
from lightning.storage import open_storage

#: Less free space than this is worth a word.
FREE_BYTES = 500 * 1024 * 1024

#: The first that merges trees without a working tree (`git merge-tree --write-tree`).
OLDEST_GIT = (2, 38)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: in order, missing but optional, or wrong."""

    part: str
    verdict: Literal["ok", "missing", "wrong"]
    detail: str


def examine(settings: Settings, url: str) -> Generator[Finding]:
    """Look at the machine, the data directory, the settings and the running installation.

    Parameters:
      settings: The settings as this shell has them.
      url: Where the ingress should listen.
    """
    yield Finding("python", "ok", sys.version.split()[0])
    yield _sqlite() if settings.storage == "sqlite" else _cosmos(settings)
    yield from _data(settings.data)
    yield _model(settings)
    if settings.broker == "servicebus":
        yield _queue(settings)
    yield _git()
    if settings.runner == "sandbox":
        yield from _sandbox(settings)
    if shutil.which("setpriv") is None:
        detail = "setpriv (util-linux): without it processes outlive a killed `lightning up`"
        yield Finding("setpriv", "missing", detail)
    yield _running(url)


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 35):
        return Finding("sqlite", "wrong", f"{version}; 3.35 is the oldest that has RETURNING")
    return Finding("sqlite", "ok", version)


def _cosmos(settings: Settings) -> Finding:
    try:
        milliseconds = asyncio.run(_check_seconds(settings)) * 1000
    except LightningError as error:
        return Finding("cosmos", "wrong", error.message)
    return Finding("cosmos", "ok", f"database {settings.cosmos_database} answers in {milliseconds:.1f} ms")


async def _check_seconds(settings: Settings) -> float:
    storage = open_storage(settings)
    try:
        log = EventLog(storage)
        await log.check()  # opens the connections, and finds the containers
        start = time.perf_counter()
        await log.check()
        return time.perf_counter() - start
    finally:
        await storage.close()


def _data(data: Path) -> Generator[Finding]:
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    another = "choose another with LIGHTNING_DATA"
    if not existing.is_dir():
        yield Finding("data", "wrong", f"{existing} is no directory; {another}")
        return
    if not os.access(existing, os.W_OK):
        yield Finding("data", "wrong", f"{existing} cannot be written; {another}")
        return
    free = shutil.disk_usage(existing).free
    verdict = "ok" if free > FREE_BYTES else "wrong"
    yield Finding("data", verdict, f"{data}, {free // 1_000_000} MB free")
    if data.exists():
        try:
            yield Finding("disk", "ok", f"a durable write takes {_sync_milliseconds(data):.1f} ms")
        except OSError as error:
            yield Finding("disk", "wrong", f"{data} takes no file ({error.strerror}); mend it, or {another}")
    keys = data / "keys.json"
    if keys.exists() and keys.stat().st_mode & 0o077:
        yield Finding("keys", "wrong", f"others can read {keys}; run chmod 600 {keys}")


def _sync_milliseconds(data: Path) -> float:
    probe = data / ".doctor"
    start = time.perf_counter()
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(handle, b"x" * 4096)
        os.fsync(handle)
    finally:
        os.close(handle)
        probe.unlink()
    return (time.perf_counter() - start) * 1000


def _model(settings: Settings) -> Finding:
    if settings.llm == "echo":
        return Finding("model", "missing", "echo answers; set OPENAI_API_KEY for a language model")
    where = settings.openai_base_url or "api.openai.com"
    return Finding("model", "ok", f"{settings.openai_model} at {where}")


def _queue(settings: Settings) -> Finding:
    broker = open_broker(settings)
    declare_queues(broker, settings.servicebus_queue)
    try:
        dead = len(broker.dead_letters())
        age = broker.oldest_message_age_seconds()
    except BrokerError as error:
        return Finding("queue", "wrong", str(error))
    finally:
        broker.close()
    waits = "nothing waits" if age is None else f"the oldest message waits for {age:.0f} s"
    letters = f"; {dead} dead letters: see lightning deadletters list" if dead else ""
    return Finding("queue", "ok", f"Service Bus answers, {waits}{letters}")


def _git() -> Finding:
    """Look for git, and whether it is young enough to merge without a working tree."""
    program = shutil.which("git")
    if program is None:
        return Finding("git", "missing", "repositories need it: apt-get install git")
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    match = re.search(r"(\d+)\.(\d+)", told)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_GIT:
        oldest = ".".join(map(str, OLDEST_GIT))
        return Finding("git", "wrong", f"{told.strip()}; repositories need {oldest} or later")
    return Finding("git", "ok", told.strip().removeprefix("git version "))


def _sandbox(settings: Settings) -> Generator[Finding]:
    """Have a sandbox do nothing, and look for what gives it a network."""
    try:
        status = asyncio.run(_tried())
    except LightningError as error:
        yield Finding("sandbox", "wrong", error.message)
        return
    if status.state != "succeeded":
        needed = (
            "Runs need user namespaces, which this user must be allowed to make, or LIGHTNING_RUNNER=aci."
        )
        yield Finding("sandbox", "wrong", f"{status.message} {needed}")
        return
    yield Finding("sandbox", "ok", "runs on this machine work")
    if settings.sandbox_network != "full":
        return
    program = shutil.which("slirp4netns")
    if program is None:
        detail = (
            "runs that ask for the network, as they do by default, need it: apt-get install slirp4netns, "
            "or set LIGHTNING_SANDBOX_NETWORK=none"
        )
        yield Finding("network", "missing", detail)
    else:
        yield Finding("network", "ok", f"{program} gives it to runs")


async def _tried() -> RunStatus:
    from lightning.containers.sandbox import SandboxRunner  # noqa: PLC0415 -- runs may be elsewhere

    limits = Limits(memory_mib=64, disk_mib=8, wall_seconds=10)
    with tempfile.TemporaryDirectory(prefix="lightning-doctor-") as place:
        runner = SandboxRunner(Path(place) / "runs", images=Path(place))
        try:
            await runner.start(RunSpec("doctor", ["true"], network="none", limits=limits))
            while not (status := await runner.status("doctor")).ended:  # noqa: ASYNC110 -- it is over at once
                await asyncio.sleep(0.01)
            await runner.remove("doctor")
        finally:
            await runner.close()
    return status


def _running(url: str) -> Finding:
    try:
        with Client(url, timeout_seconds=3) as client:
            health = client.health()
    except ClientError as error:
        verdict = "wrong" if error.status else "missing"
        return Finding("ingress", verdict, str(error))
    parts = ", ".join(f"{name} {part}" for name, part in health["parts"].items() if not part["ready"])
    return Finding("ingress", "wrong" if parts else "ok", parts or f"{url} is {health['status']}")
