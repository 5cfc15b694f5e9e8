"""A client of Lightning's HTTP API, for programs and for the command line."""

import json
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx2

#: One request waits at most so long for an event; then it is asked again.
MAX_WAIT_SECONDS = 20.0


class ClientError(Exception):
    """The platform refused, or could not be reached.

    Parameters:
      message: What happened, for a person.
      status: The HTTP status, if there was an answer.
      code: The problem's code, if there was one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Client:
    """Talks to one installation as one user.

    Parameters:
      url: Where the ingress listens, such as ``http://127.0.0.1:8000``.
      token: An access token, from `log_in`.
      timeout_seconds: For each request, and for silence on a stream.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._http = httpx2.Client(base_url=url, timeout=timeout_seconds)
        self.url = url
        self.user_id: str | None = None
        if token is not None:
            self._authorize(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _authorize(self, token: str) -> None:
        self._http.headers["authorization"] = f"Bearer {token}"

    def register(self, username: str, password: str) -> str:
        """Create an account.

        Returns:
          The ``userID``.
        """
        return self._call("POST", "/api/register", {"username": username, "password": password})["userID"]

    def log_in(self, username: str, password: str) -> str:
        """Get an access token and use it from now on.

        Returns:
          The token.
        """
        answer = self._call("POST", "/api/token", {"username": username, "password": password})
        self._authorize(answer["access_token"])
        self.user_id = answer["userID"]
        return answer["access_token"]

    def headers(self) -> dict[str, str]:
        """Give the headers that show who this client is, for requests made by other means."""
        return {"authorization": self._http.headers["authorization"]}

    def send(
        self,
        type: str,
        metadata: Mapping[str, Any],
        *,
        source: str = "lightning.client",
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Post an event of now.

        Returns:
          The event as it was recorded.
        """
        if self.user_id is None:
            self.user_id = self._call("GET", "/api/me")["userID"]
        event = {
            "timestamp": datetime.now(UTC).isoformat(),
            "source": source,
            "type": type,
            "userID": self.user_id,
            "metadata": dict(metadata),
        }
        headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
        return self._call("POST", "/api/events", event, headers)

    def event(self, event_id: str) -> dict[str, Any]:
        """Read one event with its outputs."""
        return self._call("GET", f"/api/events/{event_id}")

    def wait(self, event: Mapping[str, Any], *, timeout_seconds: float = 120.0) -> dict[str, Any]:
        """Wait until an event is over, and read it.

        Parameters:
          event: As `send` returned it.
          timeout_seconds: Give up after so long.

        Raises:
          ClientError: It is not over in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            seconds = min(left, MAX_WAIT_SECONDS)
            found = self._call("GET", f"/api/events/{event['id']}", parameters={"wait": int(seconds + 1)})
            if found["state"] != "accepted":
                return found
        raise ClientError(f"event {event['id']} is not over after {timeout_seconds:.0f} seconds")

    def events(self, **parameters: str | int) -> dict[str, Any]:
        """List events: ``after``, ``limit``, ``type``, ``state``, ``conversationID``, ``root``."""
        return self._call("GET", "/api/events", parameters=parameters)

    def health(self) -> dict[str, Any]:
        """Ask whether the installation is ready."""
        return self._call("GET", "/api/health")

    def stream(self, after: int = 0, *, timeout_seconds: float | None = None) -> Generator[dict[str, Any]]:
        """Follow the log from a place on (server-sent events of the HTML standard).

        Parameters:
          after: The ``seq`` to begin behind.
          timeout_seconds: Longest silence, in which the platform pings now and then; none by default.
        """
        try:
            with self._http.stream(
                "GET", "/api/stream", params={"after": after, "deltas": 0}, timeout=timeout_seconds
            ) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line[5:])
        except httpx2.HTTPError as error:
            raise _unreachable(self.url, error) from error

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str | int] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._http.request(
                method, path, json=body, headers=dict(headers or {}), params=dict(parameters or {})
            )
        except httpx2.HTTPError as error:
            raise _unreachable(self.url, error) from error
        if response.is_error:
            raise _refused(response)
        return response.json()


def _refused(response: httpx2.Response) -> ClientError:
    try:
        problem = response.json()
        detail, code = problem["detail"], problem["code"]
    except (ValueError, KeyError, TypeError):
        detail, code = response.text[:200], None
    return ClientError(detail, status=response.status_code, code=code)


def _unreachable(url: str, error: httpx2.HTTPError) -> ClientError:
    return ClientError(f"{url} cannot be reached ({type(error).__name__}); is `lightning up` running there?")
