"""A full disk: the platform on a small file system that is filled, and freed again.

Usage: ``unshare --mount python -m ops.chaos.disk DIRECTORY``, as root: what is mounted is seen by nobody
else, and is gone with the process.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2

from lightning.client import Client, ClientError, EventWithOutputs
from lightning.settings import for_child
from ops.chaos.installation import Installation, ModelServer, until

SIZE: Final = "16m"

#: So much of a message that a few of them fill what the ballast leaves.
CONTENT: Final = "x" * 20_000

#: What the ballast leaves, in bytes.
LEFT: Final = 400_000

#: Posts until the disk must be full.
MAX_POSTS: Final = 200


class Full:
    """A file that takes the room of others.

    Parameters:
      path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def grow(self, left: int) -> None:
        """Take all but so many bytes."""
        with self._path.open("ab", buffering=0) as file, suppress(OSError):
            free = os.statvfs(self._path.parent)
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - left)))

    def release(self) -> None:
        """Give it back."""
        self._path.unlink()


def post(client: Client, content: str) -> httpx2.Response:
    """Post a chat once, whatever comes of it."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "disk",
        "type": "llm.chat",
        "userID": client.user_id,
        "metadata": {"content": content},
    }
    return httpx2.post(f"{client.url}/api/events", json=event, headers=client.headers(), timeout=20)


def storage_ready(client: Client) -> bool:
    """Tell what the platform says of its store."""
    answer = httpx2.get(f"{client.url}/api/health", timeout=20)
    ready: bool = answer.json()["parts"]["storage"]["ready"]
    return ready


def fill(client: Client, ballast: Full) -> tuple[list[str], httpx2.Response]:
    """Post until the platform refuses; give the ids of what it took, and the refusal."""
    accepted: list[str] = []
    ballast.grow(LEFT)
    for _ in range(MAX_POSTS):
        answer = post(client, CONTENT)
        if answer.status_code != 202:
            ballast.grow(0)
            return accepted, post(client, CONTENT)
        accepted.append(answer.json()["id"])
    raise AssertionError(f"{MAX_POSTS} events were accepted on a disk that is full")


def judge(
    refusal: httpx2.Response, events: Sequence[EventWithOutputs], ready: tuple[bool, bool]
) -> list[str]:
    """List what should not be, before the files are looked at.

    Parameters:
      refusal: What was answered while the disk was full.
      events: All that were accepted.
      ready: Whether the store was said to be ready, then and later.
    """
    problems = [f"{each['id']} is {each['state']}" for each in events if each["state"] != "done"]
    if ready != (False, True):
        problems.append(f"while it was full and once it was freed, the store was said to be ready: {ready}")
    if (refusal.status_code, refusal.json().get("code")) != (503, "store_unavailable"):
        problems.append(f"the refusal is {refusal.status_code}: {refusal.text}")
    if not refusal.headers.get("retry-after", "").isdecimal():
        problems.append("the refusal does not say when to come again")
    return problems


def examine(running: Installation) -> list[str]:
    """Look for damage in what is on the disk."""
    problems: list[str] = []
    for name in ("log.db", "queue.db"):
        with closing(sqlite3.connect(running.data / name)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            problems.append(f"{name}: {found[:3]}")
    check = subprocess.run(
        [str(Path(sys.executable).with_name("lightning")), "storage", "check"],
        env=for_child(running.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if check.returncode != 0:
        problems.append(f"lightning storage check: {check.stdout}{check.stderr}")
    return problems


def run(folder: Path, disk: Path) -> list[str]:
    """Fill the disk under a running installation, free it, and list what should not be."""
    ballast = Full(disk / "ballast")
    with ModelServer(folder) as model:
        environment = {
            **model.environment(),
            "LIGHTNING_CLAIM_SECONDS": "2",
            "LIGHTNING_SWEEP_SECONDS": "1",
            "LIGHTNING_LEASE_SECONDS": "2",
        }
        with Installation(disk / "data", environment) as running, running.user() as client:
            accepted = [post(client, "before").json()["id"]]
            more, refusal = fill(client, ballast)
            accepted += more
            ready_when_full = storage_ready(client)
            ballast.release()
            ready_when_freed = storage_ready(client)
            until(lambda: _accepts(client, accepted), "events are accepted again", seconds=60)
            until(lambda: _are_over(client, accepted), "every accepted event is over", seconds=120)
            events = [client.event(each) for each in accepted]
        problems = [*judge(refusal, events, (ready_when_full, ready_when_freed)), *examine(running)]
    print(f"{len(accepted)} events, then {refusal.status_code}: {problems or 'PASSED'}", flush=True)
    return problems


def _accepts(client: Client, accepted: list[str]) -> bool:
    answer = post(client, "after")
    if answer.status_code == 202:
        accepted.append(answer.json()["id"])
    return answer.status_code == 202


def _are_over(client: Client, accepted: Sequence[str]) -> bool:
    try:
        return all(client.event(each)["state"] != "accepted" for each in accepted)
    except ClientError:
        return False


def main(arguments: Sequence[str]) -> None:
    """Mount the disk, and run.

    Parameters:
      arguments: A directory that exists.
    """
    folder = Path(arguments[0])
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    sys.exit(bool(run(folder, disk)))


if __name__ == "__main__":
    main(sys.argv[1:])
