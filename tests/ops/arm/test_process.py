"""The emulator as a process: its one line, its end, and what runs when it is killed."""

import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.emulators.arm import main
from tests.ops.arm.conftest import IMAGE, SUBNET, client_of, create, group, until_says

LIGHTNING = str(Path(sys.executable).with_name("lightning"))
BOUND_SECONDS = 60


@contextmanager
def running(*arguments: str):
    """Run the emulator. Gives the process and what its line says."""
    command = [LIGHTNING, "emulator", "arm", "--port", "0", "--image", IMAGE, "--isolated-subnet", SUBNET]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline().strip()
            parts = dict(part.split("=", 1) for part in line.split(";") if part)
            yield (
                process,
                SimpleNamespace(
                    line=line,
                    endpoint=parts["Endpoint"],
                    token=parts["AccessToken"],
                    subscription=parts["SubscriptionId"],
                ),
            )
        finally:
            process.kill()


def processes_with(mark: str) -> list[Path]:
    """Give the processes of this machine that have a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent)
        except OSError:
            pass
    return found


def until_gone(mark: str):
    deadline = time.monotonic() + BOUND_SECONDS
    while processes_with(mark):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def test_what_runs_ends_with_the_emulator_or_with_the_next(tmp_path):
    # Given an emulator with a folder, in which something runs
    mark = f"4711.{secrets.randbelow(10**9)}"
    folder = str(tmp_path / "data")
    with running("--data", folder) as (process, emulator):
        with client_of(emulator) as client:
            until_says(client, create(client, group(f"echo here; sleep {mark}")), "here")
        # When it is killed
        process.send_signal(signal.SIGKILL)
        process.wait(BOUND_SECONDS)
    # Then the next on the folder ends that, and has the same token
    with running("--data", folder, "--offline") as (process, again):
        assert again.token == emulator.token
        until_gone(mark)
        with client_of(again) as client:
            assert list(client.container_groups.list()) == []
            # in no isolated subnet, but --offline
            script = f"test ! -e /sys/class/net/eth0 && echo here; sleep {mark}"
            until_says(client, create(client, group(script, subnet_ids=None)), "here")
        # And one that is told to stop ends what it runs
        process.terminate()
        assert process.wait(BOUND_SECONDS) == 0
    assert not processes_with(mark)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-groups", "-1"], "below zero"),
        (["--fault", '{"kind": "flood"}'], "kind must be one of"),
        (["--registry", "server"], "a server, a user and a password"),
        (["--mount", "there"], "absolute path"),
        (["--pending-seconds", "-1"], "from 0 on"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
