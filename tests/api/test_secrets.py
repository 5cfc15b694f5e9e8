"""No password and no token is in what the ingress prints, keeps or answers."""

import os
import signal
import subprocess
import sys
import time

import httpx2

from ops.chaos.installation import free_port
from tests.api.conftest import PATIENCE_SECONDS

PASSWORD, OTHER, WRONG = "canary-of-a-password-1", "canary-of-a-password-2", "canary-of-a-password-3"


def test_secrets_of_people_are_written_nowhere(tmp_path):
    # Given an ingress as it runs, that says all it has to say
    port, data = free_port(), tmp_path / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
    environment |= {"LIGHTNING_DATA": str(data), "PORT": str(port), "LIGHTNING_LOG_LEVEL": "debug"}
    environment |= {"JWT_SIGNING_KEY": "k" * 32, "NOTIFY_SECRET": "whsec_" + "QUJD" * 10}
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.main"], env=environment, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            secrets, answers = use(f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            # uvicorn ends by the signal that it drained for
            assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM

    # Then none of the secrets stands where it was printed or kept
    printed = (tmp_path / "printed").read_bytes()
    assert b"refresh_token_reused" in printed
    written = {"printed": printed} | {
        file.name: file.read_bytes() for file in data.iterdir() if file.is_file()
    }
    assert "log.db" in written
    assert "spans.db" in written
    for name, content in written.items():
        assert not [secret for secret in secrets if secret.encode() in content], name

    # And no answer repeats what it was shown
    assert not [secret for secret in secrets for answer in answers if secret in answer]


def use(url):
    """Do everything that takes a secret; give the secrets, and the answers that should have none."""
    secrets, quiet = {PASSWORD, OTHER, WRONG}, []
    with httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        wait_for(http)

        def post(path, token=None, **form):
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            answer = http.post(path, json=form, headers=headers)
            if (
                "token" not in (body := answer.json() if answer.content else {})
                and "access_token" not in body
            ):
                quiet.append(answer.text)
            for name in ("token", "access_token", "refresh_token"):
                if name in body:
                    secrets.update(part for part in body[name].split(".")[2:])
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


def wait_for(http):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if http.get("/api/health").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        assert time.monotonic() < deadline, "the ingress does not start"
        time.sleep(0.05)
