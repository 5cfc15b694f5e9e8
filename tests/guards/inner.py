"""Runs of pytest within a test, under the guards."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUARDS = ("sockets", "skips", "turns")


def run_inner(
    folder: Path, cores: str, sources: dict[str, str], allowed: str = "", guards: Sequence[str] = GUARDS
) -> subprocess.CompletedProcess[str]:
    """Run tests that are written for the purpose.

    Parameters:
      folder: An empty directory for them.
      cores: ``-n0``, or as many workers of pytest-xdist.
      sources: Their files.
      allowed: The list of skips.
      guards: The plugins of this folder.
    """
    command = command_of(folder, cores, sources, allowed, guards)
    environment = environment_of()
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def command_of(
    folder: Path, cores: str, sources: dict[str, str], allowed: str = "", guards: Sequence[str] = GUARDS
) -> list[str]:
    """Write tests, and give the command that runs them in their folder; parameters as above."""
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "allowed_skips.txt").write_text(allowed)
    for name, source in sources.items():
        (folder / "tests" / name).write_text(source)
    # other plugins are not what is tested here, and take a second to load
    loaded = [*(f"-ptests.guards.{name}" for name in guards), "-pxdist", "-pno:cacheprovider"]
    return [sys.executable, "-m", "pytest", cores, "--import-mode=importlib", *loaded, "tests"]


def environment_of() -> dict[str, str]:
    """Give the environment of such a run, which is told nothing of the one around it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return environment | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
