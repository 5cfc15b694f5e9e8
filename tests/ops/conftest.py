"""The `lightning` command beside a real platform, or beside one that misbehaves as a test says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning.client import Client
from ops.access import first_user
from ops.chaos.installation import Installation, ModelServer
from tests import forked
from tests.fake_platform import FakePlatform, stage
from tests.ops.terminal import Terminal

LIGHTNING = str(Path(sys.executable).with_name("lightning"))


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}


@dataclass
class CommandLine:
    """The command, told which installation is meant."""

    url: str
    data: Path

    def command(self, *arguments: str) -> list[str]:
        return [LIGHTNING, *arguments, "--url", self.url, "--data", str(self.data)]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run([*self.command(*arguments)], stdin)

    def shell(self, before: str, after: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it within a line of bash."""
        return run(["bash", "-c", f'{before} "$@" {after}', "bash", *self.command(*arguments)])

    def at_a_terminal(self, *arguments: str) -> Terminal:
        return Terminal(self.command(*arguments), clean_environment())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), env=clean_environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end; ours in a copy of a process that has loaded most of what it needs."""
    if command[0] == LIGHTNING:
        return forked.run(command, clean_environment(), stdin)
    return subprocess.run(
        command, input=stdin, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


@dataclass
class Installed(CommandLine):
    """The command beside a real platform, and what that consists of."""

    installation: Installation
    model: ModelServer
    ada: Client | None = None  #: another user, where a module has one

    def client(self) -> Client:
        """Give a client of the first user, with a session of its own."""
        client = Client(self.url)
        client.log_in(*first_user(self.data))
        return client


@pytest.fixture(scope="package")
def installed(tmp_path_factory):
    """Give a function that runs an installation, with the first user, for as long as a block lasts."""

    @contextmanager
    def running(script: Sequence[Mapping], **settings: str) -> Iterator[Installed]:
        data = tmp_path_factory.mktemp("installation") / "data"
        with (
            ModelServer(tmp_path_factory.mktemp("model"), script) as model,
            Installation(data, {**model.environment(), **settings}) as installation,
        ):
            installation.register(*first_user(data))
            yield Installed(installation.url, data, installation, model)

    return running


@pytest.fixture(scope="module")
def client(platform):
    with platform.client() as client:
        yield client


@pytest.fixture(scope="module")
def a_stage():
    with stage() as made:
        yield made


@pytest.fixture
def platform(a_stage):
    """A platform that does what a test says."""
    with a_stage.play() as playing:
        yield playing


@pytest.fixture
def fake(platform: FakePlatform, tmp_path: Path) -> CommandLine:
    """The command beside the platform that does what a test says."""
    (tmp_path / "first_user.json").write_text(json.dumps({"username": "first", "password": "right"}))
    return CommandLine(platform.url, tmp_path)
