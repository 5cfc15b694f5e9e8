"""A real ingress on loopback: the application under uvicorn, as `api.main` runs it. No worker runs."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.sync.client import ClientConnection, connect

from api.app import create_app
from api.main import Server, configuration
from api.platform import Platform
from lightning.domain.accounts import Accounts
from lightning.domain.runs import Runs
from lightning.domain.sessions import Origin, Sessions
from lightning.domain.tokens import TokenIssuer
from lightning.events import EventDocument
from lightning.keys import with_keys
from lightning.settings import Settings
from lightning.storage import Storage
from ops.chaos.installation import until
from ops.ports import free_port
from tests.api.described import check, check_frame
from tests.stores import catch_up, settings_of, storage_of

#: Longer than any answer may take; what takes so long has hung.
PATIENCE_SECONDS = 20.0

#: As few as bcrypt does; `test_secrets` sees how many they are where it counts.
FAST_ROUNDS = 4

#: Everybody's.
PASSWORD = "correct horse battery"

#: Frames of a stream that stand in no log.
PLACELESS = {"delta", "run", "log", "progress"}

_numbers = itertools.count(1)


class Person:
    """A tenant of the ingress, and its requests."""

    def __init__(self, ingress: "Ingress", id: str, token: str, username: str) -> None:
        self.ingress = ingress
        self.id = id
        self.token = token
        self.username = username

    def log_in(self, ingress: "Ingress | None" = None, *, password: str | None = None, **headers: str):
        """Begin a session, perhaps at another ingress of the same data directory."""
        form = {"username": self.username, "password": PASSWORD if password is None else password}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (ingress or self.ingress).http.post("/api/token", json=form, headers=named)

    def tokens(self) -> dict[str, Any]:
        """Begin a session that must begin."""
        answer = self.log_in()
        assert answer.status_code == 200, answer.text
        return answer.json()

    def token_of(self, **options: Any) -> str:
        """Sign another access token of the person's session."""
        claims = self.ingress.issuer.verify(self.token, "user")
        return self.ingress.issuer.issue("user", self.id, role=claims.role, claims=claims.extra, **options)

    def headers(self, **more: str) -> dict[str, str]:
        """Give the headers of a request; ``_`` in a name stands for ``-``."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"authorization": f"Bearer {self.token}", **named}

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any):
        return self.ingress.http.request(
            method, path, headers={**self.headers(), **(headers or {})}, **options
        )

    def get(self, path: str, **parameters: Any):
        return self.request("GET", path, params=parameters)

    def post(self, event: object, **headers: str):
        """Post a JSON value as an event."""
        return self.post_raw(json.dumps(event).encode(), **headers)

    def post_raw(self, body: bytes, **headers: str):
        """Post a body as it is."""
        return self.ingress.http.post("/api/events", content=body, headers=self.headers(**headers))

    def event(self, **changes: object) -> dict[str, Any]:
        """Make an event that is accepted unless the changes are wrong."""
        return {
            "timestamp": datetime.now(UTC).isoformat(),
            "source": "tests",
            "type": "llm.chat",
            "userID": self.id,
            "metadata": {"content": "hello"},
            **changes,
        }

    def says(self, content: str, **headers: str) -> dict[str, Any]:
        """Post a chat that must be accepted, and give it as recorded."""
        answer = self.post(self.event(metadata={"content": content}), **headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def log(self) -> list[dict[str, Any]]:
        """Read the whole log."""
        answer = self.get("/api/events", limit=200)
        assert answer.status_code == 200, answer.text
        assert answer.json()["next"] is None, "this log is too long for one page"
        return answer.json()["events"]

    @contextmanager
    def stream(self, after: int | None = None, *, last_event_id: str | None = None, deltas: int = 1):
        """Open the stream of events and give its frames."""
        place = {} if after is None else {"after": after}
        options: dict[str, Any] = {"params": {**place, "deltas": deltas}}
        headers = self.headers() if last_event_id is None else self.headers(last_event_id=last_event_id)
        with self.ingress.http.stream("GET", "/api/stream", headers=headers, **options) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            yield frames(response)

    @contextmanager
    def websocket(
        self,
        *,
        path: str = "/api/ws",
        headers: dict[str, str] | None = None,
        subprotocols: list[str] | None = None,
        **parameters: Any,
    ) -> Iterator[ClientConnection]:
        """Open a WebSocket; ``headers`` stand in for the bearer token."""
        url = f"{self.ingress.url.replace('http', 'ws', 1)}{path}?{urlencode(parameters)}"
        shown = self.headers() if headers is None else headers
        options: dict[str, Any] = {"proxy": None, "close_timeout": 2, "subprotocols": subprotocols}
        with connect(url, additional_headers=shown, **options) as socket:
            yield socket


@dataclass(frozen=True)
class Frame:
    """One server-sent event."""

    id: str
    event: str
    data: dict[str, Any]


def frames(response: httpx2.Response) -> Iterator[Frame]:
    """Read server-sent events (HTML standard, section 9.2.6); comments are passed over.

    Live frames have no id; theirs is empty.
    """
    fields: dict[str, list[str]] = {}
    for line in response.iter_lines():
        if not line:
            if "data" in fields:
                (event,) = fields["event"]
                (place,) = fields.get("id", [""]) if event in PLACELESS else fields["id"]
                frame = Frame(place, event, json.loads("\n".join(fields["data"])))
                check_frame(response, frame.data)
                yield frame
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))


class Ingress:
    """A running ingress."""

    def __init__(self, settings: Settings, url: str, app: Starlette, server: Server) -> None:
        self.settings = settings
        self.server = server
        self.platform: Platform = app.state.platform
        self.data: Path = settings.data
        self.url = url
        # every answer of every test is held against the description of the API
        self.http = httpx2.Client(
            base_url=url, trust_env=False, timeout=PATIENCE_SECONDS, event_hooks={"response": [check]}
        )
        assert settings.jwt_signing_key is not None
        self.issuer = TokenIssuer(settings.jwt_signing_key.get_secret_value())
        self._beside: AccountsBeside | None = None

    def stop(self) -> None:
        """Begin to stop, as at a signal."""
        self.server.should_exit = True

    def person(self, *, role: str = "user") -> Person:
        """Make a tenant that nobody had before, with an account and a session as `/api/token` begins it."""
        with self.accounts() as made:
            account = made.run(made.accounts.register(f"person-{next(_numbers)}", PASSWORD, role=role))
            grant = made.run(made.sessions.start(account, Origin()))
            self.catch_up(made.storage)
        token = self.issuer.issue("user", account.id, role=role, claims={"sid": grant.session_id})
        return Person(self, account.id, token, account.username)

    def catch_up(self, other: Storage) -> None:
        """Read from now on at least what another process has written, as if it had been told of it."""
        catch_up(self.platform.log._storage, other)

    @contextmanager
    def accounts(self) -> Iterator["AccountsBeside"]:
        """Lend the accounts, opened from beside as another process would, and once for all tests."""
        self._beside = self._beside or AccountsBeside(self.data)
        yield self._beside

    def close(self) -> None:
        """Close what was opened for tests."""
        self.http.close()
        if self._beside is not None:
            self._beside.close()


def written_run(ingress: "Ingress", event: dict[str, Any], text: str) -> str:
    """Write the run of a task down, as a worker does that is not here, and give its id."""

    async def write(runs: Runs) -> str:
        run = await runs.open(cast("EventDocument", event))
        if run.document["outcome"] is None:
            run = await runs.append(run, text.encode(), len(text.encode()), last=True)
            await runs.conclude(run, {"status": "succeeded", "message": text, "exitCode": 0})
        return run.document["id"]

    with ingress.accounts() as made:
        run = made.run(write(Runs(made.storage)))
        ingress.catch_up(made.storage)
        return run


class AccountsBeside:
    """The accounts of a data directory, on an event loop of their own; their passwords are hashed fast."""

    def __init__(self, data: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._runner = self._thread.submit(asyncio.Runner).result()
        self.storage = storage_of(data)
        self.accounts = Accounts(self.storage, rounds=FAST_ROUNDS)
        self.sessions = Sessions(self.storage, self.accounts)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._runner.run, work).result(PATIENCE_SECONDS)

    def close(self) -> None:
        self.run(self.storage.close())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


class _Server(Server):
    """The server of the web process, which says when it listens or has given up."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config, app)
        self.decided = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.decided.set()


@contextmanager
def serving(data: Path, *, rounds: int = FAST_ROUNDS, **settings: str) -> Iterator[Ingress]:
    """Run an ingress on a data directory, in a thread, for as long as the block lasts."""
    loaded = with_keys(Settings.load({"LIGHTNING_DATA": str(data), **settings_of(data), **settings}))
    app = create_app(loaded, bcrypt_rounds=rounds)
    server = _Server(configuration(app, loaded, drain_seconds=2), app)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="ingress", daemon=True
        )
        thread.start()
        try:
            assert server.decided.wait(PATIENCE_SECONDS), "the ingress does not start"
            assert server.started, "the ingress gave up at its start"
            ingress = Ingress(loaded, f"http://127.0.0.1:{listener.getsockname()[1]}", app, server)
            with closing(ingress):
                yield ingress
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the ingress does not stop"


@contextmanager
def process(data: Path, printed: Path, **settings: str) -> Iterator[httpx2.Client]:
    """Run an ingress as a process of its own, as it is run, and give a client of it.

    Parameters:
      printed: The file for what it prints.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
    port = free_port()
    loaded = with_keys(
        Settings.load({"LIGHTNING_DATA": str(data), "PORT": str(port), **settings_of(data), **settings})
    )
    with printed.open("w") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "api.main"],
            env=loaded.to_environ(environment),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_SECONDS
        ) as http:
            until(lambda: _healthy(http) or running.poll() is not None, "the ingress is up")
            yield http
    finally:
        running.send_signal(signal.SIGTERM)
        status = running.wait(PATIENCE_SECONDS)
    # uvicorn ends by the signal that it drained for
    assert status == -signal.SIGTERM, printed.read_text()


def _healthy(http: httpx2.Client) -> bool:
    try:
        return http.get("/api/health").status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    with serving(tmp_path_factory.mktemp("ingress") / "data") as ingress:
        yield ingress


@pytest.fixture
def person(ingress: Ingress) -> Person:
    return ingress.person()


def assert_problem(
    response: httpx2.Response, status: int, code: str | None = None, *, pointer: str | None = None
) -> dict[str, Any]:
    """Check that a response is a problem (RFC 9457) in full, and give it.

    Parameters:
      pointer: The field at fault; None says that no field is.
    """
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    # those of the model gateway hold the error object of OpenAI too
    assert set(problem) - {"pointer", "error"} == {"type", "title", "status", "code", "detail"}
    assert problem["status"] == status
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["type"] == f"urn:lightning:problem:{problem['code']}"
    assert problem["detail"], "a problem says what to do"
    assert problem.get("pointer") == pointer, problem
    if code is not None:
        assert problem["code"] == code
    return problem


def concrete(path: str) -> str:
    """Fill in the parameters of a path, so that nothing is found there."""
    return re.sub(r"{\w+}", "x", path)


def from_now(**difference: float) -> str:
    return (datetime.now(UTC) + timedelta(**difference)).isoformat()
