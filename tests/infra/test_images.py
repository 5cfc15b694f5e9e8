"""The recipes of images and of the composition: linted, run as nobody, hold what they need."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from brokers import queue_names
from lightning.settings import Settings
from tests.architecture.tree import PACKAGES, ROOT

HADOLINT = Path(sys.executable).with_name("hadolint")
RECIPE = (ROOT / "Dockerfile").read_text()
RECIPES = ["Dockerfile", "agents/Dockerfile"]


def lint(recipe: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HADOLINT, "--no-color", recipe], capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_has_nothing_to_complain_about(recipe):
    run = lint(ROOT / recipe)
    assert run.returncode == 0, run.stdout


def packages(lock: str) -> set[str]:
    return set(re.findall(r"^[\w.-]+==[^\s;]+", lock, re.MULTILINE))


def test_a_bad_recipe_is_noticed(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp && pip install dramatiq\n")
    assert lint(tmp_path / "Dockerfile").returncode != 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_base_is_an_argument_and_nothing_runs_as_root(recipe):
    text = (ROOT / recipe).read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {"${BASE}"}
    assert re.search(r"^ARG BASE=python:[\d.]+-slim-\w+$", text, re.MULTILINE)
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert last.index("\nUSER ") > max(last.rfind("\nRUN "), 0) or "RUN mkdir" in last


def test_the_platform_has_all_packages_and_says_how_it_is():
    copied = set(re.findall(r"^COPY (\w+) /src/\1$", RECIPE, re.MULTILINE))
    assert copied == set(PACKAGES)
    sent = set((ROOT / ".dockerignore").read_text().split("\n!")[1:])
    locks = {"requirements.lock", "requirements-chat.lock"}
    assert {*copied, *locks, "pyproject.toml"} <= {each.split("\n")[0] for each in sent}
    assert "--require-hashes" in RECIPE
    # the chat's packages are those of the platform and more
    usual, more = (packages((ROOT / name).read_text()) for name in sorted(locks, reverse=True))
    assert usual < more
    assert not [each for each in usual if each.startswith("chainlit==")]
    assert [each for each in more if each.startswith("chainlit==")]
    # what is asked for health runs, and finds nobody
    [command] = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", RECIPE, re.MULTILINE)
    python, *arguments = json.loads(command)
    assert python == "python"
    run = subprocess.run(
        [sys.executable, *arguments],
        env={"PORT": "9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "refused" in run.stderr


def test_the_environment_of_the_image_is_one_of_the_platform():
    pairs = re.findall(r"\b(LIGHTNING_\w+|PORT)=(\S+)", RECIPE)
    settings = Settings.load(dict(pairs))
    assert (settings.host, str(settings.data), settings.log) == ("0.0.0.0", "/var/lib/lightning", "json")


def test_the_composition_is_that_of_the_procfile_and_of_the_code():
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert {name: composed[name]["command"] for name in lines} == lines
    for name in lines.keys() - {"chat"}:
        given = {
            **composed[name]["environment"],
            "JWT_SIGNING_KEY": "0" * 64,
            "LIGHTNING_SECRET_KEY": "1" * 64,
        }
        given |= {"LIGHTNING_LLM": "echo", "OPENAI_API_KEY": ""}
        given["NOTIFY_SECRET"] = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        settings = Settings.load(given)
        assert (settings.broker, settings.storage) == ("servicebus", "cosmos")
    # the chat has its own image and its own key, and no other
    assert composed["chat"]["build"]["args"] == {"LOCK": "requirements-chat.lock"}
    chat = Settings.load({**composed["chat"]["environment"], "CHAINLIT_AUTH_SECRET": "2" * 64})
    assert (chat.chat_api, chat.secret_values()) == ("http://web:8000", ["2" * 64])
    # nobody else on the network reaches it
    opened = [port for each in composed.values() for port in each.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in opened)
    emulated = json.loads((ROOT / "ops/compose/servicebus.json").read_text())
    [namespace] = emulated["UserConfig"]["Namespaces"]
    assert [queue["Name"] for queue in namespace["Queues"]] == queue_names("lightning")
