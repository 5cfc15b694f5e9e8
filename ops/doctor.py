"""`lightning doctor`: what is in order on this machine, and what is not."""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning.client import Client, ClientError
from lightning.settings import Settings

#: Less free space than this is worth a word.
FREE_BYTES = 500 * 1024 * 1024


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
    yield _sqlite()
    yield from _data(settings.data)
    yield _model(settings)
    if shutil.which("setpriv") is None:
        detail = "setpriv (util-linux): without it processes outlive a killed `lightning up`"
        yield Finding("setpriv", "missing", detail)
    yield _running(url)


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 35):
        return Finding("sqlite", "wrong", f"{version}; 3.35 is the oldest that has RETURNING")
    return Finding("sqlite", "ok", version)


def _data(data: Path) -> Generator[Finding]:
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("data", "wrong", f"{existing} cannot be written; choose another with LIGHTNING_DATA")
        return
    free = shutil.disk_usage(existing).free
    verdict = "ok" if free > FREE_BYTES else "wrong"
    yield Finding("data", verdict, f"{data}, {free // 1_000_000} MB free")
    if data.exists():
        yield Finding("disk", "ok", f"a durable write takes {_sync_milliseconds(data):.1f} ms")
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


def _running(url: str) -> Finding:
    try:
        with Client(url, timeout_seconds=3) as client:
            health = client.health()
    except ClientError as error:
        verdict = "wrong" if error.status else "missing"
        return Finding("ingress", verdict, str(error))
    parts = ", ".join(f"{name} {part}" for name, part in health["parts"].items() if not part["ready"])
    return Finding("ingress", "wrong" if parts else "ok", parts or f"{url} is {health['status']}")
