"""Runs that go on without a worker, and what they say to the ingress."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx2

from lightning.domain.run_tokens import mint
from lightning.domain.runs import Run, RunDocument, Runs
from lightning.events import EventDocument
from lightning.log import Claimed, EventLog
from lightning.repositories import NO_COMMIT
from lightning.shim.unix_address import unix_address
from ops.chaos.installation import until
from tests.api.conftest import PATIENCE_SECONDS, Ingress, Person
from tests.api.described import check


class GoingRun:
    """A run of a person's task, as a worker has written it down that started it.

    Parameters:
      person: Whose.
      input: What the task says.
    """

    def __init__(self, person: Person, input: Any = None, **asked: Any) -> None:
        self.person = person
        self.ingress: Ingress = person.ingress
        kind = {} if "image" in asked else {"agent": "echo"}
        task = {**kind, "input": input, **asked}
        answer = person.post(person.event(type="worker.task", metadata=task))
        assert answer.status_code == 202, answer.text
        self.task: dict[str, Any] = answer.json()
        self.document: RunDocument = self.change(_begin)
        self.token = self.minted()

    @property
    def id(self) -> str:
        return self.document["id"]

    def minted(self, timeout_seconds: float = 1800) -> str:
        """Make a token as the worker does."""
        return mint(self.ingress.issuer, self.document, timeout_seconds)

    def change(self, work: Any) -> Any:
        """Do something to the run from beside, and have the ingress see it."""

        async def apply(runs: Runs) -> RunDocument:
            run = await runs.open(cast("EventDocument", self.task))
            return (await work(runs, run)).document

        with self.ingress.accounts() as made:
            self.document = made.run(apply(Runs(made.storage)))
            self.ingress.catch_up(made.storage)
        return self.document

    def end(self) -> None:
        """Let the run be over."""
        self.change(_conclude)

    def postpone(self, seconds: float) -> None:
        """Put its task off, as a worker does between two looks."""

        async def apply(log: EventLog) -> None:
            event = await log.get(self.person.id, self.task["id"])
            assert event is not None
            claim = await log.claim(self.person.id, event["id"], event["wake"], "me", 10)
            assert isinstance(claim, Claimed)
            await log.postpone(claim, seconds, attempts=0, error=None)

        with self.ingress.accounts() as made:
            made.run(apply(EventLog(made.storage)))
            self.ingress.catch_up(made.storage)

    def event(self) -> EventDocument:
        """Read its task as it stands in the log."""
        with self.ingress.accounts() as made:
            return made.run(EventLog(made.storage).get(self.person.id, self.task["id"]))

    def request(self, method: str, path: str, *, token: str | None = None, **options: Any):
        """Ask something with the token of the run."""
        headers = {**self.headers(token), **options.pop("headers", {})}
        return self.ingress.http.request(method, path, headers=headers, **options)

    def headers(self, token: str | None = None) -> dict[str, str]:
        """Give the headers that show the token of the run, or another."""
        return {"authorization": f"Bearer {token or self.token}"}

    def get(self, path: str, **parameters: Any):
        return self.request("GET", path, params=parameters)

    def post(self, path: str, body: Any):
        return self.request("POST", path, json=body)


def repository_of(person, name="notes", files=None):
    """Make a repository of a person's with files, and give its id and newest commit."""
    made = person.request("POST", "/api/repos", json={"name": name})
    assert made.status_code == 201, made.text
    repo = made.json()["id"]
    given = {"a.txt": "one\n", "b.txt": "two\n"} if files is None else files
    if not given:
        return repo, NO_COMMIT
    new = {"message": "m", "files": [{"path": path, "text": text} for path, text in given.items()]}
    return repo, person.request("POST", f"/api/repos/{repo}/commits", json=new).json()["commit"]


def working(person, repo, base, **asked):
    """Give a run of a person's that works on a commit of a repository, as a worker has written it down."""
    run = GoingRun(person, repo=repo, **asked)

    async def begin(runs, found):
        return await runs.begin_from(found, repo, base)

    run.change(begin)
    return run


async def _begin(runs: Runs, run: Run) -> Run:
    return await runs.advance(run, stage="running", begun=True)


async def _conclude(runs: Runs, run: Run) -> Run:
    return await runs.conclude(run, {"status": "succeeded", "message": "It ended.", "exitCode": 0})


async def reset(runs: Runs, run: Run) -> Run:
    """Let a run be started anew, as when its dead task is replayed."""
    return await runs.reset(run)


@contextmanager
def at_socket(ingress: Ingress) -> Iterator[httpx2.Client]:
    """Ask at the unix socket, as a run on this machine is led to it."""
    path = ingress.settings.run_api_socket
    assert path is not None
    until(lambda: listens(path), "the run API is served at its socket", seconds=PATIENCE_SECONDS)
    with unix_address(str(path)) as address:
        transport = httpx2.HTTPTransport(uds=address)
        with httpx2.Client(
            transport=transport,
            base_url="http://run-api",
            timeout=PATIENCE_SECONDS,
            event_hooks={"response": [_check_known]},
        ) as http:
            yield http


def listens(path: Any) -> bool:
    """Tell whether somebody listens at a unix socket."""
    with unix_address(str(path)) as address, socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


def _check_known(response: httpx2.Response) -> None:
    if response.request.url.path.startswith("/run"):
        check(response)
