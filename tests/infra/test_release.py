"""The script that releases: what it asks of Azure, in which order, and where it stops."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

PROCESSES = ["web", "worker", "clock", "chat"]

#: What a release does once the slots have their image; people reach two of the apps.
SWAPPED = ["start"] * 4 + ["ask"] * 2 + ["swap"] * 4 + ["stop"] * 4 + ["ask"] * 2


@pytest.fixture
def release(tmp_path):
    """Run the script among programs that only write down how they were called."""
    calls = tmp_path / "calls"
    for program in ("az", "curl"):
        fake = tmp_path / program
        fake.write_text(
            f'#!/bin/sh\necho "{program} $*" >> "{calls}"\n'
            f'case "$*" in "webapp list"*) cat "{tmp_path}/apps" ;; esac\n'
            f'[ ! -e "{tmp_path}/{program}.fails" ]\n'
        )
        fake.chmod(0o755)

    def run(*arguments: str, failing: str = "", apps: list[str] = PROCESSES) -> tuple[int, list[str]]:
        stack, region = "-".join(arguments[1:3]), next((each for each in arguments[3:] if each == "2"), "")
        (tmp_path / "apps").write_text("".join(f"{stack}-{process}{region}\n" for process in apps))
        calls.unlink(missing_ok=True)
        if failing:
            (tmp_path / f"{failing}.fails").touch()
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RELEASE_TRIES": "2", "RELEASE_PAUSE": "0"}
        done = subprocess.run(
            [ROOT / "infra" / "release.sh", *arguments],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return run


def kinds(calls: list[str]) -> list[str]:
    words = {
        "webapp list": "list",
        "config set": "image",
        "webapp start": "start",
        "swap": "swap",
        "webapp stop": "stop",
    }
    words |= {"curl": "ask", "restart": "restart"}
    return [next(kind for text, kind in words.items() if text in call) for call in calls]


def test_a_release_starts_beside_the_one_before_and_is_swapped_in_once_it_answers(release):
    status, calls = release("deploy", "acme", "prod", "lightning:1.2.0")
    assert status == 0
    assert kinds(calls) == ["list"] + ["image"] * 4 + SWAPPED
    assert all("--slot next" in call for call in calls[1:] if call.startswith("az"))
    assert all("--resource-group acme-prod-group " in call for call in calls if call.startswith("az"))
    assert [call.split("--name ")[1].split()[0] for call in calls[1:5]] == [
        f"acme-prod-{p}" for p in PROCESSES
    ]
    images = [call.rpartition("DOCKER|")[2].split()[0] for call in calls[1:5]]
    assert images == ["acmeprodacr.azurecr.io/lightning:1.2.0"] * 3 + ["acmeprodacr.azurecr.io/chat:1.2.0"]
    asked = [call.rpartition(" ")[2] for call in calls if call.startswith("curl")]
    assert asked == [
        f"https://acme-prod-{app}.azurewebsites.net/api/health"
        for app in ("web-next", "chat-next", "web", "chat")
    ]


def test_a_stack_may_be_without_the_chat_and_without_no_other(release):
    status, calls = release("deploy", "acme", "dev", "lightning@sha256:0", apps=PROCESSES[:3])
    assert status == 0
    assert kinds(calls) == ["list"] + ["image"] * 3 + ["restart"] * 3 + ["ask"]
    assert not [call for call in calls if "chat" in call]
    status, calls = release("deploy", "acme", "dev", "lightning:1", apps=PROCESSES[1:])
    assert (status, kinds(calls)) == (1, ["list"])
    # the image of the chat has the tag of the others', and a digest names no other image
    status, calls = release("deploy", "acme", "dev", "lightning@sha256:0")
    assert (status, kinds(calls)) == (2, ["list"])


def test_what_does_not_answer_is_not_swapped_in(release):
    status, calls = release("deploy", "acme", "prod", "lightning:1.2.0", failing="curl")
    assert status == 1
    assert "swap" not in kinds(calls)


def test_what_azure_refuses_ends_the_release(release):
    status, calls = release("deploy", "acme", "prod", "lightning:1.2.0", failing="az")
    assert status != 0
    assert kinds(calls) == ["list"]


def test_a_rollback_is_the_swap_once_more(release):
    status, calls = release("rollback", "acme", "prod", "2")
    assert status == 0
    assert kinds(calls) == ["list", *SWAPPED]
    assert "--resource-group acme-prod-group2 --name acme-prod-web2 " in calls[1]


def test_dev_has_no_slots(release):
    status, calls = release("deploy", "acme", "dev", "lightning:1.2.0")
    assert status == 0
    assert kinds(calls) == ["list"] + ["image"] * 4 + ["restart"] * 4 + ["ask"] * 2
    assert not [call for call in calls if "--slot" in call]
    assert release("rollback", "acme", "dev")[0] == 2


@pytest.mark.parametrize(
    "arguments", [[], ["deploy", "acme"], ["deploy", "acme", "prod"], ["undo", "acme", "prod"]]
)
def test_wrong_use_says_how(release, arguments):
    assert release(*arguments) == (2, [])


def test_the_names_are_those_of_the_stack():
    text = (ROOT / "infra" / "release.sh").read_text()
    for kind in ("acr.azurecr.io", "-group"):
        assert kind in text
    assert Path(ROOT / "infra" / "release.sh").stat().st_mode & 0o111
