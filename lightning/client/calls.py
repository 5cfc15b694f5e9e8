"""What a client does, without doing it: steps for whoever has a connection, blocking or not.

A call is a generator of steps. A client takes each step and sends what came of
it back in, or throws in what went wrong; the call's result is its return value.
"""

import contextlib
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import httpx2

from lightning.client import requests
from lightning.client.backoff import Backoff
from lightning.client.errors import ClientError, refused, unreachable, unreadable
from lightning.client.requests import Request
from lightning.client.shapes import EventWithOutputs, Token
from lightning.client.tokens import Tokens

#: One request waits at most so long for an event; then it is asked again.
MAX_WAIT_SECONDS = 20.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request and give its answer, read in full."""

    request: Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """Renew the access token, unless another call has done so since it was this one."""

    access: str | None


Steps = Generator[Ask | Pause | Refresh, httpx2.Response | None, T]


class Calls:
    """The calls of one client.

    Parameters:
      url: Where the ingress listens.
      tokens: Who the client is.
      retry_seconds: How long a request that may be repeated is.
    """

    def __init__(self, url: str, tokens: Tokens, retry_seconds: float) -> None:
        self.url = url
        self.tokens = tokens
        self._retry_seconds = retry_seconds

    def build(
        self, http: httpx2.Client | httpx2.AsyncClient, request: Request, timeout: httpx2.Timeout
    ) -> httpx2.Request:
        """Make a request ready to be sent, by whoever the client is now."""
        return http.build_request(
            request.method,
            request.path,
            json=request.body,
            params=dict(request.query),
            headers={**request.headers, **(self.tokens.headers() if request.authorized else {})},
            timeout=timeout,
        )

    def call(self, request: Request) -> Steps[Any]:
        """Get the JSON that a request is answered with; None if the answer has no body.

        Raises:
          ClientError: It was refused, or there was no answer in time.
        """
        backoff = Backoff(self._retry_seconds if request.repeatable else 0.0)
        refreshed = False
        while True:
            if request.authorized:
                yield from self.renewed()
            used = self.tokens.access
            try:
                return self._read((yield Ask(request)))
            except httpx2.HTTPError as error:
                problem = unreachable(self.url, error)
            except ClientError as error:
                problem = error
            if not refreshed and self.refreshable(problem):
                refreshed = True
                yield Refresh(used)
            else:
                yield Pause(backoff.pause(problem))

    def renewed(self) -> Steps[None]:
        """Renew the access token if it is about to end."""
        if self.tokens.stale():
            # the token may still do; if it does not, the platform says so
            with contextlib.suppress(ClientError):
                yield Refresh(self.tokens.access)

    def refreshable(self, problem: ClientError) -> bool:
        """Tell whether a new access token may help."""
        return problem.code == "invalid_token" and self.tokens.refresh is not None

    def refresh(self) -> Steps[None]:
        """Exchange the refresh token.

        Raises:
          ClientError: It was refused, and is forgotten; or there was no answer.
        """
        if self.tokens.refresh is None:
            raise ClientError("the access token is over; log in again", status=401, code="invalid_token")
        try:
            token: Token = self._read((yield Ask(requests.refresh(self.tokens.refresh))))
        except httpx2.HTTPError as error:
            raise unreachable(self.url, error) from error
        except ClientError as error:
            if not error.temporary:
                self.tokens.refresh = None
            raise
        self.tokens.adopt(token)

    def log_in(self, username: str, password: str) -> Steps[str]:
        """Get tokens for a password, and give the access token."""
        token: Token = yield from self.call(requests.token(username, password))
        self.tokens.adopt(token)
        return token["access_token"]

    def user_id(self) -> Steps[str]:
        """Find out who the client is."""
        if self.tokens.user_id is None:
            self.tokens.user_id = (yield from self.call(requests.me()))["userID"]
        return self.tokens.user_id or ""

    def post_event(
        self,
        type: str,
        metadata: Mapping[str, Any],
        *,
        source: str,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Request]:
        """Build the request that posts an event; sent twice, it is the same event."""
        user_id = yield from self.user_id()
        return requests.post_event(
            user_id, type, metadata, source=source, timestamp=timestamp, idempotency_key=idempotency_key
        )

    def wait(self, event_id: str, timeout_seconds: float) -> Steps[EventWithOutputs]:
        """Ask for an event until it is over."""
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            seconds = math.ceil(min(left, MAX_WAIT_SECONDS))
            found: EventWithOutputs = yield from self.call(requests.event_when_over(event_id, seconds))
            if found["state"] != "accepted":
                return found
        raise ClientError(f"event {event_id} is not over after {timeout_seconds:.0f} seconds")

    def _read(self, response: httpx2.Response | None) -> Any:
        if response is None:
            raise TypeError("an Ask is answered with a response")
        if not response.is_success:
            raise refused(response)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise unreadable(self.url) from error
