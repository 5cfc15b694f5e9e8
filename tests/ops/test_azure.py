"""The workbook, the alerts and the pages about them: current, complete, and what they name exists."""

import json
import re
import shlex

import pytest
from typer.main import get_command

from ops import azure
from ops.azure.rules import ALERTS, QUERIES, RUNBOOKS
from ops.azure.workbook import FILE, QUESTIONS
from ops.cli import app
from tests.architecture.tree import ROOT
from tests.kusto import FOLDER

PAGE = (ROOT / RUNBOOKS).read_text()
ASKED = (ROOT / "docs" / "questions.md").read_text()
SECTIONS = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [
    " ".join(code.split())
    for page in (PAGE, ASKED, (ROOT / "docs" / "operations.md").read_text())
    for code in re.findall(r"`([^`]+)`|^(lightning .*)$", page, re.MULTILINE)
    for code in code
    if code.startswith("lightning ")
]


def test_what_follows_from_the_queries_is_current():
    folder = ROOT / "ops" / "azure"
    kept = {path.relative_to(ROOT).as_posix(): path.read_text() for path in folder.rglob("*.json")}
    assert kept == azure.files(), "run make docs"


def test_the_workbook_asks_what_the_files_ask():
    content = json.loads((ROOT / FILE).read_text())
    assert content["version"] == "Notebook/1.0"
    items = {each["name"]: each["content"] for each in content["items"] if each["type"] == 3}
    assert set(items) == {path.stem for path in FOLDER.glob("*.kql")} == {each.name for each in QUESTIONS}
    [fields] = [each["content"]["parameters"] for each in content["items"] if each["type"] == 9]
    for name, item in items.items():
        query, own = item["query"], (FOLDER / f"{name}.kql").read_text()
        for field in fields:
            query = query.replace(f"{{{field['name']}}}", "00000000-0000-0000-0000-000000000000")
        assert query == own
        days = [int(number) for number in re.findall(r"ago\((\d+)d\)", own)]
        assert item["timeContext"]["durationMs"] >= max(days, default=0) * 24 * 3_600_000
    assert "{Event}" in items["one-request"]["query"]
    assert "{User}" in items["what-a-user-triggered"]["query"]


def test_every_query_of_an_alert_has_its_rule_and_its_runbook():
    names = {alert.name for alert in ALERTS}
    assert {path.stem for path in QUERIES.glob("*.kql")} == names == set(SECTIONS)
    for alert in ALERTS:
        assert f"{RUNBOOKS}#{alert.name}" in json.loads(alert.text())["description"]
        parts = re.findall(r"^\*\*(.*?)\.?\*\*", SECTIONS[alert.name], re.MULTILINE)
        assert parts == ["What it means", "Look first", "Do", "It is over when"], alert.name


def test_every_question_is_on_its_page():
    sections = re.findall(r"^## ([\w-]+)$", ASKED, re.MULTILINE)
    assert sorted(sections) == sorted(each.name for each in QUESTIONS)
    for question in QUESTIONS:
        assert f"[{question.title}](#{question.name}) | `ops/kql/{question.name}.kql`" in ASKED
    for path in re.findall(r"`(ops/kql/[\w/-]+\.kql)`", PAGE + ASKED):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_of_a_page_exists(line):
    for words in (shlex.split(each) for each in line.split("&&")):
        command, rest = get_command(app), words[1:]
        context = command.make_context(words[0], list(rest))
        while hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
            command = command.get_command(context, rest[0])
            assert command is not None, f"there is no {rest[0]}"
            context = command.make_context(rest[0], rest[1:], parent=context)
            rest = rest[1:]
