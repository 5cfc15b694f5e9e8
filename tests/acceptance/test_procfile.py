"""The Procfile as it stands, run by honcho: every process starts, answers for its health, and works."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from api.chat.installed import is_installed
from lightning.client import Client, ClientError
from ops.chaos.installation import until
from ops.ports import free_port
from tests.architecture.tree import ROOT

KEYS = {
    "JWT_SIGNING_KEY": "0" * 64,
    "LIGHTNING_SECRET_KEY": "1" * 64,
    "CHAINLIT_AUTH_SECRET": "2" * 64,
    "NOTIFY_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}
LINES = [line.partition(":")[0] for line in (ROOT / "Procfile").read_text().splitlines()]

#: The chat is an extra.
PROCESSES = [name for name in LINES if name != "chat" or is_installed()]


@pytest.fixture
def running(tmp_path):
    # honcho gives each process a port a hundred above the one before
    first = free_port()
    while first + 100 * len(PROCESSES) > 65535:
        first = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    places = {"LIGHTNING_DATA": str(tmp_path / "data"), "LIGHTNING_CHAT_API": f"http://127.0.0.1:{first}"}
    environment = {**kept, **KEYS, **places, "PATH": path}
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "honcho", "-d", ROOT, "start", "-p", str(first), *PROCESSES],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        yield process, first, tmp_path / "log"
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/api/health", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False


def test_the_processes_of_the_procfile_are_an_installation(running):
    process, first, log = running
    for n, name in enumerate(PROCESSES):
        until(lambda port=first + 100 * n: healthy(port), f"{name} is healthy: {log.read_text()}", seconds=60)
    with Client(f"http://127.0.0.1:{first}") as client:
        try:
            client.register("ada", "correct horse battery")
        except ClientError as error:
            pytest.fail(f"{error}: {log.read_text()}")
        client.log_in("ada", "correct horse battery")
        over = client.wait(client.send("llm.chat", {"content": "Are you there?"}))
    assert over["state"] == "done"
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    for name in PROCESSES:
        assert f"{name}.1" in log.read_text()
