"""`lightning eval`: the agent passes what comes with it, by the scripted model, and what is wrong is told."""

import json
import os
import re
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.eval.judging import Came, Prices, judge
from ops.eval.scenario import SHIPPED, Scenario, ScenarioError, read
from tests.acceptance.running_up import LIGHTNING
from tests.architecture.tree import ROOT

#: Its script names a fact that the model is not told at first, and it expects what does not come.
UNMET = """
title = "Fails"
prompt = "Write made.txt, with one word in it."

[files]
"given.txt" = "given"

[expect]
events = ["user.message"]

[expect.files."made.txt"]
exact = "another"

[[script]]
[[script.tool_calls]]
name = "bash"
arguments.command = "echo word > made.txt; rm given.txt"

[[script]]
require = ["a fact that nobody told"]
reply = "It is done."
"""


def evaluated(*words, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [LIGHTNING, "eval", *map(str, words)], env={**kept, "COLUMNS": "160", **environment},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.timeout(520)
def test_what_comes_with_it_is_passed_and_what_is_not_as_expected_is_told(tmp_path):
    # Given the twelve scenarios that come with it, and one that cannot be passed
    folder = tmp_path / "scenarios"
    shutil.copytree(SHIPPED, folder)
    (folder / "unmet.toml").write_text(UNMET)
    # When they are run on a platform of their own, whatever other installation the environment names
    ran = evaluated(
        *(folder, "--scripted", "--json", tmp_path / "found.json"),
        *("--input-price", "1", "--output-price", "10"),
        LIGHTNING_MODE="azure",
        SERVICEBUS_CONNECTION="Endpoint=sb://127.0.0.1:9",
    )
    assert ran.returncode == 1, ran.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    *shipped, unmet = found["scenarios"]
    # Then the twelve are passed, within their bounds
    assert [each["name"] for each in shipped] == sorted(path.stem for path in SHIPPED.glob("*.toml"))
    assert [(each["name"], each["problems"]) for each in shipped if not each["passed"]] == []
    assert (found["passed"], found["failed"], found["model"]) == (12, 1, "scripted")
    for each in shipped:
        metrics = each["metrics"]
        assert each["tokens"] == metrics["prompt_tokens"] + metrics["completion_tokens"] > 0
        spent = (metrics["prompt_tokens"] + 10 * metrics["completion_tokens"]) / 1e6
        assert each["cost"] == pytest.approx(spent)
        assert each["commits"] == (each["status"] == "succeeded")
    # And of the other it is told what is wrong, the missing fact among it, in the table as in the file
    assert not unmet["passed"]
    status, *others = unmet["problems"]
    assert status.startswith("status is failed, not succeeded")
    assert "a fact that nobody told" in status
    assert others == ["made.txt is missing", "no user.message followed"]
    for shown in ("12-spend-no-more", "made.txt is missing", "12 of 13 passed", "the scripted model", "cost"):
        assert shown in ran.stdout


def test_a_scenario_that_cannot_be_read_is_named(tmp_path):
    for text, says in [
        ("title = ", "cannot be read"),
        ("title = 'x'\nprompt = 'x'", "expect: Field required"),
        ("title = 'x'\nprompt = 'x'\n[expect]\nfile = 1", "expect.file: Extra inputs"),
        ("title = 'x'\nprompt = 'x'\n[expect.files.a]\n", "expect.files.a: "),
        ("title = 'x'\nprompt = 'x'\n[expect.files.a]\nmatches = '('", "no regular expression"),
        ("title = 'x'\nprompt = 'x'\n[expect]\n[[script]]\nrepyl = 'x'", "script.0.repyl: Extra inputs"),
    ]:
        (tmp_path / "one.toml").write_text(text)
        with pytest.raises(ScenarioError, match=r"one\.toml") as caught:
            read(tmp_path)
        assert says in str(caught.value)
    (tmp_path / "one.toml").write_text("title = 'x'\nprompt = 'Do it'\n[expect]")
    (tmp_path / "two.toml").write_text("title = 'x'\nprompt = 'Do it twice'\n[expect]")
    with pytest.raises(ScenarioError, match="one and two begin alike"):
        read(tmp_path)


def test_the_example_of_the_page_is_a_scenario(tmp_path):
    [example] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "judging.md").read_text(), re.DOTALL)
    (tmp_path / "example.toml").write_text(example)
    [scenario] = read(tmp_path)
    assert (scenario.expect.only, len(scenario.script)) == (True, 2)
    came = Came(status="succeeded", files={"names.txt": b"Cid\nAda\nBob\n", "sorted.txt": b"Ada\nBob\nCid\n"})
    assert judge(scenario, came) == []


def test_wrong_use_is_told_before_anything_is_started(tmp_path):
    for words, code, says in [
        ([tmp_path], 1, "holds no scenario"),
        (["--input-price", "1"], 2, "--output-price"),
        (["--url", "http://127.0.0.1:9", "--scripted"], 2, "--scripted"),
        (["--url", "http://127.0.0.1:9", "--data", tmp_path], 1, "first user"),
    ]:
        refused = CliRunner().invoke(app, ["eval", *map(str, words)])
        told = refused.output + str(refused.exception)
        assert (refused.exit_code, says in told) == (code, True), told


CAME = Came(
    status="succeeded",
    result={"outcome": "finished", "summary": "There are 42 files."},
    files={"a.txt": b"a\nb\n", "b.json": b"[1, 2]", "same.txt": b"same"},
    events=("worker.task.result",),
    log="$ ls\na.txt\n",
    commits=1,
    metrics={"commands": 3, "prompt_tokens": 1000, "completion_tokens": 100},
    seconds=4.0,
)


@pytest.mark.parametrize(
    ("expect", "problems"),
    [
        ({"outcome": "finished", "answer": [r"\b42\b"], "committed": True}, []),
        ({"status": "failed"}, ["status is succeeded, not failed: There are 42 files."]),
        ({"outcome": "failed"}, ["outcome is finished, not failed"]),
        ({"answer": ["^42"]}, ["the answer does not match '^42'"]),
        ({"committed": False}, ["something was committed"]),
        ({"files": {"a.txt": {"exact": "a\nb\n", "matches": "^b$", "contains": ["a"], "lacks": ["c"]}}}, []),
        ({"files": {"a.txt": {"exact": "a"}}}, ["a.txt is not exactly as expected: 'a\\nb\\n'"]),
        ({"files": {"a.txt": {"contains": ["c"]}}}, ["a.txt lacks 'c'"]),
        ({"files": {"a.txt": {"lacks": ["a"]}}}, ["a.txt holds 'a'"]),
        ({"files": {"a.txt": {"matches": "^c"}}}, ["a.txt does not match '^c'"]),
        ({"files": {"b.json": {"json_equals": [1, 2]}, "c": {"absent": True}}}, []),
        ({"files": {"b.json": {"json_equals": [2, 1]}}}, ["b.json is not the expected JSON: '[1, 2]'"]),
        ({"files": {"a.txt": {"json_equals": 1}}}, ["a.txt is not the expected JSON: 'a\\nb\\n'"]),
        ({"files": {"c": {"exact": ""}}}, ["c is missing"]),
        ({"files": {"a.txt": {"absent": True}}}, ["a.txt is there"]),
        ({"files": {"same.txt": {"unchanged": True}}}, []),
        ({"files": {"a.txt": {"unchanged": True}}}, ["a.txt was changed"]),
        (
            {"only": True, "files": {"a.txt": {"contains": ["a"]}}},
            ["b.json was changed, which nobody asked for", "gone.txt was changed, which nobody asked for"],
        ),
        ({"events": ["llm.chat"]}, ["no llm.chat followed"]),
        ({"log_contains": ["ls"], "log_lacks": ["secret"]}, []),
        ({"log_contains": ["pwd"]}, ["the log lacks 'pwd'"]),
        ({"log_lacks": [r"^\$"]}, [r"the log matches '^\\$'"]),
        ({"max_commands": 3, "max_tokens": 1100, "max_seconds": 4, "max_cost": 0.002}, []),
        ({"max_commands": 2}, ["commands: 3, more than 2"]),
        ({"max_tokens": 1099}, ["tokens: 1100, more than 1099"]),
        ({"max_seconds": 3, "max_cost": 0.001}, ["seconds: 4, more than 3", "cost: 0.002, more than 0.001"]),
    ],
)  # fmt: skip
def test_what_came_is_judged(expect, problems):
    files = {"a.txt": "a", "same.txt": "same", "gone.txt": "gone"}
    given = {"name": "x", "title": "x", "prompt": "x", "files": files, "expect": expect}
    assert judge(Scenario.model_validate(given), CAME, Prices(1.0, 10.0)) == problems
