"""A client of Lightning's HTTP API, for programs and for the command line."""

import time
from collections.abc import Generator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from lightning.client import frames, requests
from lightning.client.approvals import ApprovalCalls
from lightning.client.auditing import AuditCalls
from lightning.client.backoff import Backoff
from lightning.client.calls import Calls
from lightning.client.connection import Connection
from lightning.client.conversations import ConversationCalls
from lightning.client.errors import ClientError
from lightning.client.renewal import Renewal
from lightning.client.repositories import RepositoryCalls
from lightning.client.requests import Request
from lightning.client.runs import RunCalls
from lightning.client.schedules import ScheduleCalls
from lightning.client.session_file import SessionFile
from lightning.client.shapes import (
    Delta,
    Event,
    EventPage,
    EventTree,
    EventWithOutputs,
    Frame,
    RunFrame,
)
from lightning.client.tokens import Tokens


class Client(ApprovalCalls, AuditCalls, ConversationCalls, RepositoryCalls, RunCalls, ScheduleCalls):
    """Talks to one installation as one user, and blocks meanwhile. Threads may share it.

    Access tokens are renewed as they end. Requests that may be sent twice are
    sent again when the platform is away for a moment; others never are.

    Parameters:
      url: Where the ingress listens, such as ``http://127.0.0.1:8000``.
      token: An access token, when there is no `log_in`.
      session: Where the session is kept, for `resume` and for other programs.
      credentials: Username and password, with which `resume` logs in, and again when a session is over.
      timeout_seconds: For each request.
      retry_seconds: How long a request is repeated while the platform is away.

    Raises:
      ClientError: The address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        session: SessionFile | None = None,
        credentials: tuple[str, str] | None = None,
        timeout_seconds: float = 30.0,
        retry_seconds: float = 15.0,
    ) -> None:
        self.url = url
        self._tokens = Tokens(token)
        renewal = Renewal(url, self._tokens, session, credentials)
        self._calls = Calls(url, self._tokens, renewal, retry_seconds)
        self._connection = Connection(self._calls, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    @property
    def user_id(self) -> str | None:
        """The ``userID``, once it is known."""
        return self._tokens.user_id

    def headers(self) -> dict[str, str]:
        """Give the headers that show who this client is, for requests made by other means."""
        return self._tokens.headers()

    def register(self, username: str, password: str) -> str:
        """Create an account.

        Returns:
          The ``userID``.
        """
        return self._call(requests.register(username, password))["userID"]

    def log_in(self, username: str, password: str) -> str:
        """Get an access token and use it from now on.

        Returns:
          The token.
        """
        return self._connection.run(self._calls.renewal.log_in(username, password))

    def resume(self) -> None:
        """Go on with the session that is kept, or log in with the credentials.

        Raises:
          ClientError: Nobody answers; the session is over, and there are no credentials; or they are wrong.
        """
        self._connection.run(self._calls.resume())

    def log_out(self) -> bool:
        """End the session: none of its tokens is good any more.

        Returns:
          Whether there was one.

        Raises:
          ClientError: There was no answer; the session goes on.
        """
        return self._connection.run(self._calls.renewal.log_out())

    def health(self) -> dict[str, Any]:
        """Ask whether the installation is ready."""
        return self._call(requests.health())

    def send(
        self,
        type: str,
        metadata: Mapping[str, Any],
        *,
        source: str = "lightning.client",
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Event:
        """Post an event.

        Parameters:
          type: Its type.
          metadata: As the type says.
          source: Who speaks, a name for people.
          timestamp: When it happened, with its zone; now by default.
          idempotency_key: The same event under the same key, timestamp included, is recorded once; a new
            key by default.

        Returns:
          The event as it was recorded.
        """
        request = self._connection.run(
            self._calls.post_event(
                type, metadata, source=source, timestamp=timestamp, idempotency_key=idempotency_key
            )
        )
        return self._call(request)

    def event(self, event_id: str) -> EventWithOutputs:
        """Read one event with its outputs."""
        return self._call(requests.event(event_id))

    def wait(self, event: Event, *, timeout_seconds: float = 120.0) -> EventWithOutputs:
        """Wait until an event is over, and read it.

        Parameters:
          event: As `send` returned it.
          timeout_seconds: Give up after so long.

        Raises:
          ClientError: It is not over in time.
        """
        return self._connection.run(self._calls.wait(event["id"], timeout_seconds))

    def events(self, **parameters: str | int) -> EventPage:
        """List events: ``after``, ``limit``, ``type``, ``state``, ``conversationID``, ``root``."""
        return self._call(requests.events(parameters))

    def tree(self, event_id: str, **parameters: str | int) -> EventTree:
        """Read the tree that an event belongs to, in order of ``seq``: ``after``, ``limit``."""
        return self._call(requests.tree(event_id, parameters))

    def cancel(self, event_id: str) -> Event:
        """Cancel an event and what follows from it.

        Raises:
          ClientError: It is over already (code ``already_over``), or not there.
        """
        return self._call(requests.act(event_id, "cancel"))

    def replay(self, event_id: str) -> Event:
        """Have a dead event worked on again, or a done one once more as a new event."""
        return self._call(requests.act(event_id, "replay"))

    def discard(self, event_id: str) -> Event:
        """Let a dead event count as cancelled, so that nobody has to look at it again.

        Raises:
          ClientError: It is not dead (code ``not_dead``), or not there.
        """
        return self._call(requests.act(event_id, "discard"))

    def follow_run_log(self, run_id: str, offset: int = 0) -> Generator[str]:
        """Give what a run prints, as it grows, until the run is over: every part once, whatever breaks.

        Parameters:
          run_id: The run.
          offset: Characters to leave out.

        Raises:
          ClientError: The platform refuses for good.
        """
        backoff = Backoff()
        while True:
            try:
                request = requests.follow_run_log(run_id, offset)
                for part in self._connection.frames(request, frames.SILENCE_SECONDS, frames.read_log):
                    backoff.reset()
                    if part["complete"]:
                        return
                    offset = part["next"]
                    yield part["text"]
                problem = frames.ended()
            except ClientError as error:
                problem = error
            time.sleep(backoff.pause(problem))

    def stream(self, after: int = 0, *, timeout_seconds: float | None = None) -> Generator[Event]:
        """Follow the log from a place on, over one connection.

        Parameters:
          after: The ``seq`` to begin behind.
          timeout_seconds: Longest silence, in which the platform pings now and then; none by default.
        """
        for frame in self._connection.frames(
            requests.stream(after, deltas=False), timeout_seconds, frames.read
        ):
            if not isinstance(frame, Delta | RunFrame):
                yield frame

    def tail(self, after: int = 0) -> Generator[Event]:
        """Follow the log from a place on without end: every event once and in order, whatever breaks.

        Parameters:
          after: The ``seq`` to begin behind.

        Raises:
          ClientError: The platform refuses for good.
        """
        for frame in self._follow(frames.Place(after)):
            if not isinstance(frame, Delta | RunFrame):
                yield frame

    def watch(self, after: int = 0) -> Generator[Frame]:
        """Follow the log from a place on without end, and what is shown of it as it happens.

        Events come as `tail` gives them. Pieces of answers (`Delta`) and what runs show of themselves
        (`RunFrame`) come when there is time; what is missed stays missed, and is in the events and logs.

        Parameters:
          after: The ``seq`` to begin behind.

        Raises:
          ClientError: The platform refuses for good.
        """
        yield from self._follow(frames.Place(after, live=True))

    def _follow(self, place: frames.Place) -> Generator[Frame]:
        backoff = Backoff()
        while True:
            try:
                for frame in self._connection.frames(place.request(), frames.SILENCE_SECONDS, frames.read):
                    backoff.reset()
                    if isinstance(frame, Delta | RunFrame) or place.passes(frame):
                        yield frame
                problem = frames.ended()
            except ClientError as error:
                problem = error
            time.sleep(backoff.pause(problem))

    def _call(self, request: Request) -> Any:
        return self._connection.run(self._calls.call(request))
