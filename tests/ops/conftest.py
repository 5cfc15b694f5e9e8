"""The `lightning` command beside a platform: a real one, or one that does what a test says."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_platform import FakePlatform, serving
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
        return subprocess.run(
            self.command(*arguments), input=stdin, env=clean_environment(), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def shell(self, before: str, after: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it within a line of bash."""
        script = f'{before} "$@" {after}'
        return subprocess.run(
            ["bash", "-c", script, "bash", *self.command(*arguments)], env=clean_environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def at_a_terminal(self, *arguments: str) -> Terminal:
        return Terminal(self.command(*arguments), clean_environment())


@pytest.fixture
def platform():
    with serving(FakePlatform()) as running:
        yield running


@pytest.fixture
def fake(platform: FakePlatform, tmp_path: Path) -> CommandLine:
    """The command beside the platform that does what a test says."""
    (tmp_path / "first_user.json").write_text(json.dumps({"username": "first", "password": "right"}))
    return CommandLine(platform.url, tmp_path)
