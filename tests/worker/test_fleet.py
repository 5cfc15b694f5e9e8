"""The parts of a worker as the settings name them, working together."""

import os
import subprocess
import sys

import httpx2
import pytest

from lightning.events import Draft
from lightning.ids import derived_id
from lightning.keys import with_keys
from lightning.log import wakeup
from lightning.settings import Settings
from ops.emulators.openai import ScriptedModel, serve
from worker.fleet import open_fleet

KEY = "azure-key"


@pytest.fixture
def endpoint():
    with serve(
        ScriptedModel([{"over_words": 400, "status": 400, "error": {"code": "unknown"}}], key=KEY)
    ) as url:
        yield url.removesuffix("/v1")


async def converse(fleet, *contents):
    """Have messages of one conversation answered, one after the other."""
    answers = []
    for number, content in enumerate(contents):
        metadata = {"content": content, "conversationID": "c"}
        (event,) = await fleet.log.append("anna", [Draft(f"m{number}", "llm.chat", "t", metadata, "now", {})])
        await fleet.step.run(wakeup(event))
        answers.append((await fleet.log.get("anna", derived_id(event["id"], "response")))["metadata"])
    return answers


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({}, "/openai/v1/chat/completions"),
        (
            {"OPENAI_API_VERSION": "2024-10-21"},
            "/openai/deployments/chat/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_a_chat_is_answered_by_azure_openai(tmp_path, endpoint, more, path):
    # Given settings that name a deployment there, and a small cap of the context
    settings = with_keys(
        Settings.load(
            {
                "LIGHTNING_DATA": str(tmp_path),
                "LIGHTNING_LLM": "azure-openai",
                "LIGHTNING_CONTEXT_TOKENS": "256",
                "OPENAI_BASE_URL": endpoint,
                "OPENAI_API_KEY": KEY,
                "OPENAI_MODEL": "chat",
                **more,
            }
        )
    )
    fleet = open_fleet(settings, [], "worker")
    try:
        # When a conversation goes on beyond the cap
        answers = await converse(fleet, "old " * 150, "new " * 50, "last")
    finally:
        await fleet.close()

    # Then the deployment answered each
    assert [answer["content"][:14] for answer in answers] == [
        "You said: old ",
        "You said: new ",
        "You said: last",
    ]
    assert answers[-1]["model"] == "chat"
    async with httpx2.AsyncClient(base_url=endpoint) as control:
        requests = (await control.get("/control/requests")).json()["requests"]
    assert {request["path"] for request in requests} == {path}

    # And was shown no more than the cap allows
    shown = [message["content"][:3] for message in requests[-1]["body"]["messages"]]
    assert shown == ["new", "You", "las"]


LOADS = """
import asyncio, os, sys
from lightning.errors import Transient
from lightning.keys import with_keys
from lightning.settings import Settings
from worker.fleet import open_fleet

async def main():
    fleet = open_fleet(with_keys(Settings.load(dict(os.environ))), [], sys.argv[1])
    try:
        async for _ in fleet.model.stream([]):
            pass
    except Transient as error:
        print(error.code, end=" ")
    finally:
        await fleet.close()
        fleet.broker.close()
    print("openai" in sys.modules)

asyncio.run(main())
"""


def test_the_clock_loads_no_model_and_asks_none(tmp_path):
    # Given settings that name a model, whose SDK takes long to load
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    # When the parts of the clock are opened
    ran = subprocess.run(
        [sys.executable, "-c", LOADS, "clock"],
        env={**os.environ, **environment, "LIGHTNING_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    # Then it is not loaded, and to ask it is refused
    assert ran.stdout == "model_unavailable False\n", ran.stderr
