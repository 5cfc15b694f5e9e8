"""No password and no token is in what the ingress prints, keeps or answers."""

import asyncio
import json

from lightning.storage import CONTAINERS
from tests.api.conftest import process
from tests.stores import storage_of

PASSWORD, OTHER, WRONG = "canary-of-a-password-1", "canary-of-a-password-2", "canary-of-a-password-3"


def test_secrets_of_people_are_written_nowhere(tmp_path):
    # Given an ingress as it runs, that says all it has to say
    data, printed = tmp_path / "data", tmp_path / "printed"
    with process(data, printed, LIGHTNING_LOG_LEVEL="debug") as http:
        secrets, answers = use(http)

    # Then none of the secrets stands where it was printed or kept
    assert "refresh_token_reused" in printed.read_text()
    written = {"printed": printed.read_bytes()} | {
        file.name: file.read_bytes() for file in data.iterdir() if file.is_file()
    }
    written["the store"] = asyncio.run(everything(data))
    # And a guess takes its time there, as the ingresses of other tests do not let it
    assert b'"passwordHash": "$2b$12$' in written["the store"]
    assert "spans.db" in written
    for name, content in written.items():
        assert not [secret for secret in secrets if secret.encode() in content], name

    # And no answer repeats what it was shown
    assert not [secret for secret in secrets for answer in answers if secret in answer]


async def everything(data):
    """Read every document that there is."""
    storage = storage_of(data)
    try:
        found = [await storage.query(name, None, limit=1000) for name in CONTAINERS]
    finally:
        await storage.close()
    return json.dumps([stored.body for page in found for stored in page.items]).encode()


def use(http):
    """Do everything that takes a secret; give the secrets, and the answers that should have none."""
    secrets, quiet = {PASSWORD, OTHER, WRONG}, []

    def post(path, token=None, **form):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        answer = http.post(path, json=form, headers=headers)
        body = answer.json()
        shown = [body[name] for name in ("token", "access_token", "refresh_token") if name in body]
        for each in shown:
            # the signature of an access token, the secrets of a refresh token
            secrets.update(each.split(".")[2:])
        if not shown:
            quiet.append(answer.text)
        return body

    post("/api/register", username="alice", password=PASSWORD)
    post("/api/register", username="alice", password=OTHER)
    post("/api/register", username=WRONG + " ", password=OTHER)
    post("/api/token", username="alice", password=WRONG)
    post("/api/token", username=WRONG, password=WRONG)
    first = post("/api/token", username="alice", password=PASSWORD)
    second = post("/api/token/refresh", refresh_token=first["refresh_token"])
    post("/api/token/refresh", refresh_token=second["refresh_token"])
    post("/api/token/refresh", refresh_token=first["refresh_token"])
    access = post("/api/token", username="alice", password=PASSWORD)["access_token"]
    post("/api/service-tokens", access, name="nightly", scopes=["events:read"])
    post("/api/password", access, currentPassword=WRONG, newPassword=OTHER)
    post("/api/password", access, currentPassword=PASSWORD, newPassword=OTHER)
    post("/api/me", access + "x")
    return secrets, quiet
