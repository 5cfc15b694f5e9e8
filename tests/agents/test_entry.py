"""The entry point and the echo, as a container starts them: with the standard library and nothing else."""

import json
import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT


def agent(*words, task=None, beside=None, **variables):
    places = [str(ROOT), *([] if beside is None else [str(beside)])]
    environment = {"PYTHONPATH": ":".join(places), **variables}
    environment |= {} if task is None else {"LIGHTNING_TASK": task}
    command = [sys.executable, "-S", "-m", "agents", *words]  # -S: no installed package is there
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_echo_prints_its_input_and_says_that_it_is_one():
    ran = agent("echo", task=json.dumps({"agent": "echo", "input": {"text": "hello"}}))
    assert (ran.returncode, ran.stderr) == (0, "")
    said, repeated = ran.stdout.splitlines()
    assert "echo" in said
    assert json.loads(repeated) == {"text": "hello"}


def test_an_installed_package_names_agents(tmp_path):
    # Given a package that is installed, with an agent that takes the run API too
    (tmp_path / "theirs.py").write_text(
        "def count(task, api):\n    print(len(task['input']), type(api).__name__)\n    return 7\n"
    )
    described = tmp_path / "theirs-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[lightning.agents]\ncounter = theirs:count\n")
    # When it is named
    task = json.dumps({"input": [1, 2, 3]})
    ran = agent("counter", task=task, beside=tmp_path)
    # Then it runs, without the run API where there is none
    assert (ran.returncode, ran.stdout) == (7, "3 NoneType\n")
    there = {"LIGHTNING_API_URL": "http://127.0.0.1:9", "LIGHTNING_RUN_TOKEN": "t"}
    assert agent("counter", task=task, beside=tmp_path, **there).stdout == "3 RunApi\n"
    assert "there are: counter, echo" in agent("nobody", beside=tmp_path).stderr


@pytest.mark.parametrize(
    ("words", "task", "code", "says"),
    [
        (["nobody"], "{}", 64, "no agent 'nobody' here; there are: echo"),
        (["__main__"], "{}", 64, "there are: echo"),
        (["run_api"], "{}", 64, "there are: echo"),
        (["spans"], "{}", 64, "there are: echo"),
        (["workspace"], "{}", 64, "there are: echo"),
        ([], "{}", 64, "no agent named"),
        (["echo"], "{", 65, "LIGHTNING_TASK"),
        (["echo"], None, 65, "LIGHTNING_TASK"),
    ],
)
def test_what_cannot_be_run_is_said(words, task, code, says):
    ran = agent(*words, task=task)
    assert ran.returncode == code
    assert says in ran.stderr
