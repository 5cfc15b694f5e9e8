"""What the pages tell people to type is there: commands of ours and their options, targets, paths."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from ops.cli import app
from tests.architecture.tree import PACKAGES, ROOT

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OUTPUTS = set(re.findall(r'pulumi\.export\(\s*"(\w+)"', (ROOT / "infra" / "stack.py").read_text()))

#: What the pages use of Pulumi's command, which is not here to be asked (https://www.pulumi.com/docs/iac/cli/commands/).
PULUMI = {
    "up": {"--yes"},
    "preview": set(),
    "destroy": set(),
    "login": set(),
    "stack init": {"--secrets-provider"},
    "stack select": set(),
    "stack output": set(),
    "state unprotect": {"--all"},
    "config set": {"--secret"},
    "config get": set(),
    "config rm": set(),
}

#: These read their options themselves, and tell them by --help.
OWN_OPTIONS = "emulator"


def code_of(page: Path) -> Iterator[str]:
    """Give each line of a page's blocks of code, and each piece of code within its text."""
    text = page.read_text()
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    rest = re.sub(r"^ *```\w*\n.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", rest))


def words_of(line: str) -> list[list[str]]:
    """Give the words of each command in a line; a line that is no shell has none."""
    pieces = re.split(r"&&|\|\||[;|]|\$\(|^\(|<<<", line.partition("  #")[0])
    found = []
    for piece in pieces:
        try:
            found.append(shlex.split(piece.strip().rstrip(")")))
        except ValueError:
            found.append(piece.split())
    return found


def commands(page: Path, program: str) -> list[list[str]]:
    """Give what follows a program in every command of a page that calls it."""
    calls = []
    for words in (words for line in code_of(page) for words in words_of(line)):
        names = [word.rpartition("/")[2] for word in words]
        # assignments may stand before it; in a sentence it is no command
        if program in names and all("=" in word for word in words[: names.index(program)]):
            calls.append(words[names.index(program) + 1 :])
    return calls


def unknown(words: list[str]) -> str | None:
    """Say what of a command's words there is not."""
    command = typer.main.get_command(app)
    while hasattr(command, "get_command") and words and re.fullmatch(r"[a-z]+", words[0]):
        if words[0] == OWN_OPTIONS:
            return None
        # a group that is loaded late has its commands from here on
        context = command.make_context(words[0], [], resilient_parsing=True)
        found = command.get_command(context, words[0])
        if found is None:
            return words[0]
        command, words = found, words[1:]
    options = {"--help", *(name for each in command.params for name in each.opts + each.secondary_opts)}
    used = {word.strip("[]").partition("=")[0] for word in words if word.strip("[").startswith("--")}
    return next(iter(sorted(used - options)), None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_that_a_page_names_exist(page):
    calls = commands(page, "lightning")
    assert {" ".join(words): found for words in calls if (found := unknown(words)) is not None} == {}
    for words in commands(page, "make"):
        targets = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
        assert set(targets[:1]) <= TARGETS, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_asks_of_pulumi_can_be_asked(page):
    for words in commands(page, "pulumi"):
        if not words or not words[0].isalpha():
            continue  # its name, or its version
        verb = " ".join(words[:1] if words[0] in PULUMI else words[:2])
        assert verb in PULUMI, words
        assert {word for word in words if word.startswith("--")} <= PULUMI[verb], words
        if verb == "stack output":
            assert words[2] in OUTPUTS, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_that_a_page_names_exist(page):
    folders = "|".join([*PACKAGES, "docs", "tests", ".github"])
    named = {
        found
        for line in code_of(page)
        for found in re.findall(rf"(?:^|(?<=[\s\"'(]))(?:{folders})/[\w./*-]+", line)
    }
    assert [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("./")))] == []


def test_a_word_that_is_wrong_would_be_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```\nA=b .venv/bin/lightning users make ada \\\n  --rol x\n```\nand `lightning send --ur x`"
    )
    first, second = commands(page, "lightning")
    assert (unknown(first), unknown(second)) == ("make", "--ur")
    assert unknown(["users", "add", "ada", "--rol", "x"]) == "--rol"
    assert unknown(["users", "add", "ada", "--role", "operator"]) is None
