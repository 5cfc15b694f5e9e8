"""What the pages about Azure say can be followed: settings, files, links and names are there."""

import re
from pathlib import Path

import pytest

from infra.names import Names
from lightning.settings import Settings
from tests.architecture.test_docs import INSIDE_RUNS
from tests.architecture.tree import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
PARAMETERS = (ROOT / "infra" / "parameters.py").read_text()


def keys_of_the_program() -> set[str]:
    read = set(re.findall(r'config\.(?:get|get_int|get_bool|require)\("(\w+)"[,)]', PARAMETERS))
    read |= set(re.findall(r'_one_of\(config, "(\w+)"', PARAMETERS))
    return read | set(re.findall(r'\((?:"[A-Z_]+"|[A-Z_]+), "(\w+)", (?:True|False)\)', PARAMETERS))


def test_every_setting_of_a_stack_is_in_the_table_and_the_other_way_round():
    table = DEPLOY.partition("## Settings of a stack")[2].partition("## What is made")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == keys_of_the_program()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_sets_can_be_set(page):
    text = page.read_text()
    named = set(re.findall(r"pulumi config (?:set|get|rm)(?: --secret)? ([\w:-]+)", text)) - {"KEY"}
    assert named <= keys_of_the_program() | {"azure-native:location"}
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(re.findall(r"\bLIGHTNING_[A-Z_]+\b", text)) <= known | INSIDE_RUNS | {"LIGHTNING_NAME"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    for path in re.findall(
        r"`((?:infra|tests|agents|ops)/[\w/.]+?\.(?:py|sh|json)|agents/Dockerfile)`", text
    ):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\((?!https:)([^)]*)\)", text):
        file, _, anchor = target.partition("#")
        assert (page.parent / file).exists(), target
        linked = (page.parent / file).read_text() if anchor and file else text
        headings = re.findall(r"^##+ (.*)$", linked, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_names_on_a_page_are_those_of_the_program(page):
    made = {
        kind
        for path in (ROOT / "infra").glob("*.py")
        for kind in re.findall(r'\.name\(f?"([\w{}-]+)"\)', path.read_text())
    }
    kinds = {kind.partition("{")[0].rstrip("-") for kind in made} | {
        "group",
        "runs",
        "web",
        "worker",
        "clock",
        "chat",
    }
    for stage, kind in re.findall(r"\bacme-(dev|prod)-([a-z]+)", Path(page).read_text()):
        if kind not in ("restored", "preview"):  # what the reader makes
            assert kind in kinds
            assert Names("acme", stage).of(kind) == f"acme-{stage}-{kind}"
