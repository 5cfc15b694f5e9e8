"""Imports run one way, and the check that says so would notice if they did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, PYPROJECT, ROOT


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept():
    run = lint(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Contracts: {len(PYPROJECT['tool']['importlinter']['contracts'])} kept, 0 broken" in run.stdout


@pytest.mark.parametrize(
    ("package", "line", "contract"),
    [
        ("lightning", "import brokers", "one way down"),
        ("brokers", "import actors", "one way down"),
        ("brokers", "def f():\n    from agents import x", "one way down"),
        ("worker", "import api", "one way down"),
        ("actors", "import worker", "one way down"),
        ("api", "import actors", "HTTP never calls an actor"),
        ("agents", "import lightning.errors", "an agent carries no platform code"),
    ],
)
def test_a_violation_is_noticed(copy, package, line, contract):
    (copy / package / "violation.py").write_text(f"{line}\n")

    run = lint(copy)

    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{contract} BROKEN" in run.stdout
    assert f"{package}.violation" in run.stdout


def test_every_package_is_checked_and_shipped():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert (
        folders == set(PACKAGES) == set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    )
