"""No run token is in what the ingress prints, keeps or answers."""

import asyncio
from typing import cast

from api.app import ROUTES
from lightning.domain.run_tokens import mint
from lightning.domain.runs import Runs
from lightning.domain.tokens import TokenIssuer
from lightning.events import EventDocument
from lightning.keys import with_keys
from lightning.settings import Settings
from tests.api.conftest import concrete, process
from tests.api.test_secrets import everything
from tests.stores import storage_of

PASSWORD = "canary-of-a-password-1"


def test_the_token_of_a_run_is_written_nowhere(tmp_path):
    # Given an ingress as it runs, that says all it has to say, and a run
    data, printed = tmp_path / "data", tmp_path / "printed"
    with process(data, printed, LIGHTNING_LOG_LEVEL="debug") as http:
        form = {"username": "alice", "password": PASSWORD}
        http.post("/api/register", json=form)
        session = http.post("/api/token", json=form).json()
        person = {"authorization": f"Bearer {session['access_token']}"}
        event = {"timestamp": "2026-01-31T12:00:00Z", "source": "tests", "type": "worker.task"}
        event |= {"userID": session["userID"], "metadata": {"agent": "echo"}}
        task = http.post("/api/events", json=event, headers=person).json()
        token = asyncio.run(token_of(data, task))
        shown = {"authorization": f"Bearer {token}"}
        answers = []

        # When the token is shown everywhere, in the right place and in wrong ones
        for route in ROUTES:
            if "text/event-stream" in route.answers.values():
                continue
            path = concrete(route.path)
            for headers, query in ((shown, {}), ({"authorization": token}, {}), ({}, {"token": token})):
                body = None if route.method == "GET" else {"token": token}
                answer = http.request(route.method, path, headers=headers, params=query, json=body)
                answers.append(answer.text)
        assert http.get("/run/task", headers=shown).json()["id"] == task["id"]
        run = http.get("/api/runs", headers=person)
        answers.append(run.text)
        assert task["id"] in run.text

    # Then it stands in nothing that was printed, kept or answered
    written = {"printed": printed.read_bytes(), "the store": asyncio.run(everything(data))} | {
        file.name: file.read_bytes() for file in data.iterdir() if file.is_file()
    }
    assert "spans.db" in written
    assert written["spans.db"]
    assert not [name for name, content in written.items() if token.encode() in content]
    assert not [answer for answer in answers if token in answer]


async def token_of(data, task):
    """Write a run down and make its token, as a worker does."""
    settings = with_keys(Settings.load({"LIGHTNING_DATA": str(data)}))
    issuer = TokenIssuer(settings.jwt_signing_key.get_secret_value())
    storage = storage_of(data)
    try:
        run = await Runs(storage).open(cast("EventDocument", task))
        return mint(issuer, run.document, 60)
    finally:
        await storage.close()
