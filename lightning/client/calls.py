"""What a client does, without doing it: `lightning.client.steps` for whoever has a connection."""

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx2

from lightning.client import requests
from lightning.client.backoff import Backoff
from lightning.client.errors import ClientError, unsendable
from lightning.client.renewal import Renewal
from lightning.client.requests import Request
from lightning.client.shapes import EventWithOutputs
from lightning.client.steps import Pause, Refresh, Steps, ask
from lightning.client.tokens import Tokens

#: One request waits at most so long for an event; then it is asked again.
MAX_WAIT_SECONDS = 20.0


class Calls:
    """The calls of one client.

    Parameters:
      url: Where the ingress listens.
      tokens: Who the client is.
      renewal: How it stays so.
      retry_seconds: How long a request that may be repeated is.
      forwarded_for: For whom a server speaks.
    """

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        renewal: Renewal,
        retry_seconds: float,
        forwarded_for: str | None = None,
    ) -> None:
        self._forwarded = {} if forwarded_for is None else {"x-forwarded-for": forwarded_for}
        self.url = url
        self.tokens = tokens
        self.renewal = renewal
        self._retry_seconds = retry_seconds

    def build(
        self, http: httpx2.Client | httpx2.AsyncClient, request: Request, timeout: httpx2.Timeout
    ) -> httpx2.Request:
        """Make a request ready to be sent, by whoever the client is now.

        Raises:
          ClientError: It holds what cannot be sent.
        """
        try:
            return http.build_request(
                request.method,
                request.path,
                json=request.body,
                content=request.content,
                params=dict(request.query),
                headers={
                    **self._forwarded,
                    **request.headers,
                    **(self.tokens.headers() if request.authorized else {}),
                },
                timeout=timeout,
            )
        except (ValueError, RecursionError, httpx2.InvalidURL) as error:
            raise unsendable(error) from error

    def call(self, request: Request) -> Steps[Any]:
        """Get the JSON, or bytes, that a request is answered with; None if the answer has no body.

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
                return (yield from ask(self.url, request))
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
        return problem.code == "invalid_token" and self.renewal.possible()

    def resume(self) -> Steps[None]:
        """Go on with the session that is kept, or log in.

        Raises:
          ClientError: Neither can be; or there was no answer.
        """
        if not self.renewal.take_up():
            yield Refresh(self.tokens.access)
            return
        # that nobody is there, or that the session is over, is better said before anything is begun
        yield from self.call(replace(requests.me(), repeatable=False))

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
