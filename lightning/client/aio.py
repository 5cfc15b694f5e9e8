"""The client for asyncio: it does what the blocking one does, and streams answers besides."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from lightning.client import frames, requests
from lightning.client.approvals import AsyncApprovalCalls
from lightning.client.auditing import AsyncAuditCalls
from lightning.client.backoff import Backoff
from lightning.client.calls import Calls
from lightning.client.chat import Chat
from lightning.client.connection import AsyncConnection
from lightning.client.conversations import AsyncConversationCalls
from lightning.client.errors import ClientError
from lightning.client.renewal import Renewal
from lightning.client.repositories import AsyncRepositoryCalls
from lightning.client.requests import Request, WhenBusy
from lightning.client.runs import AsyncRunCalls
from lightning.client.schedules import AsyncScheduleCalls
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


class AsyncClient(
    AsyncApprovalCalls,
    AsyncAuditCalls,
    AsyncConversationCalls,
    AsyncRepositoryCalls,
    AsyncRunCalls,
    AsyncScheduleCalls,
):
    """Talks to one installation as one user. Tasks of one event loop may share it.

    Access tokens are renewed as they end. Requests that may be sent twice are
    sent again when the platform is away for a moment; others never are.

    Parameters:
      url: Where the ingress listens, such as ``http://127.0.0.1:8000``.
      token: An access token, when there is no `log_in`.
      session: Where the session is kept, for `resume` and for other programs.
      credentials: Username and password, with which `resume` logs in, and again when a session is over.
      timeout_seconds: For each request.
      retry_seconds: How long a request is repeated while the platform is away.
      forwarded_for: For whom a server speaks, as ``X-Forwarded-For``: limits of log-ins are then of that
        address, if the platform trusts the server (`LIGHTNING_TRUSTED_PROXIES`).

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
        forwarded_for: str | None = None,
    ) -> None:
        self.url = url
        self._tokens = Tokens(token)
        renewal = Renewal(url, self._tokens, session, credentials)
        self._calls = Calls(url, self._tokens, renewal, retry_seconds, forwarded_for)
        self._connection = AsyncConnection(self._calls, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._connection.aclose()

    @property
    def user_id(self) -> str | None:
        """The ``userID``, once it is known."""
        return self._tokens.user_id

    def headers(self) -> dict[str, str]:
        """Give the headers that show who this client is, for requests made by other means."""
        return self._tokens.headers()

    async def register(self, username: str, password: str) -> str:
        """Create an account; see `Client.register`."""
        return (await self.call(requests.register(username, password)))["userID"]

    async def log_in(self, username: str, password: str) -> str:
        """Get an access token and use it from now on; see `Client.log_in`."""
        return await self._connection.run(self._calls.renewal.log_in(username, password))

    async def resume(self) -> None:
        """Go on with the session that is kept, or log in; see `Client.resume`."""
        await self._connection.run(self._calls.resume())

    async def log_out(self) -> bool:
        """End the session; see `Client.log_out`."""
        return await self._connection.run(self._calls.renewal.log_out())

    async def health(self) -> dict[str, Any]:
        """Ask whether the installation is ready."""
        return await self.call(requests.health())

    async def send(
        self,
        type: str,
        metadata: Mapping[str, Any],
        *,
        source: str = "lightning.client",
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Event:
        """Post an event; see `Client.send`."""
        request = await self._connection.run(
            self._calls.post_event(
                type, metadata, source=source, timestamp=timestamp, idempotency_key=idempotency_key
            )
        )
        return await self.call(request)

    def chat(
        self,
        content: str,
        *,
        conversation: str | None = None,
        when_busy: WhenBusy | None = None,
        source: str = "lightning.client",
        timeout_seconds: float = 600.0,
    ) -> Chat:
        """Say something, and get the answer piece by piece.

        Parameters:
          content: What to say.
          conversation: The conversation to go on in; a new one by default.
          when_busy: What happens if the conversation waits for another answer.
          source: Who speaks, a name for people.
          timeout_seconds: Give up after so long without the whole answer.

        Returns:
          An asynchronous iterator; nothing is sent before it is iterated.
        """
        metadata = requests.chat_metadata(content, conversation, when_busy)
        return Chat(self, metadata, source=source, timeout_seconds=timeout_seconds)

    async def event(self, event_id: str) -> EventWithOutputs:
        """Read one event with its outputs."""
        return await self.call(requests.event(event_id))

    async def wait(self, event: Event, *, timeout_seconds: float = 120.0) -> EventWithOutputs:
        """Wait until an event is over, and read it; see `Client.wait`."""
        return await self._connection.run(self._calls.wait(event["id"], timeout_seconds))

    async def events(self, **parameters: str | int) -> EventPage:
        """List events: ``after``, ``limit``, ``type``, ``state``, ``conversationID``, ``root``."""
        return await self.call(requests.events(parameters))

    async def tree(self, event_id: str, **parameters: str | int) -> EventTree:
        """Read the tree that an event belongs to; see `Client.tree`."""
        return await self.call(requests.tree(event_id, parameters))

    async def cancel(self, event_id: str) -> Event:
        """Cancel an event and what follows from it; see `Client.cancel`."""
        return await self.call(requests.act(event_id, "cancel"))

    async def replay(self, event_id: str) -> Event:
        """Have a dead event worked on again, or a done one once more as a new event."""
        return await self.call(requests.act(event_id, "replay"))

    async def discard(self, event_id: str) -> Event:
        """Let a dead event count as cancelled; see `Client.discard`."""
        return await self.call(requests.act(event_id, "discard"))

    async def tail(self, after: int = 0) -> AsyncGenerator[Event]:
        """Follow the log without end: every event once and in order; see `Client.tail`."""
        place = frames.Place(after)
        async with aclosing(self._follow(place)) as arriving:
            async for frame in arriving:
                if frame is not None and (event := place.passes(frame)):
                    yield event

    async def watch(self, after: int = 0) -> AsyncGenerator[Frame]:
        """Follow the log, and what is shown of it as it happens; see `Client.watch`."""
        place = frames.Place(after, live=True)
        async with aclosing(self._follow(place)) as arriving:
            async for frame in arriving:
                if frame is not None and (isinstance(frame, Delta | RunFrame) or place.passes(frame)):
                    yield frame

    async def deltas(self) -> AsyncGenerator[Delta | None]:
        """Follow the answers that are being written, whatever breaks; what is missed stays missed.

        Yields:
          None each time that a connection is there or is lost, else what comes over it.

        Raises:
          ClientError: The platform refuses for good.
        """
        async with aclosing(self._follow(frames.Place(frames.BEYOND, live=True))) as arriving:
            async for frame in arriving:
                if frame is None or isinstance(frame, Delta):
                    yield frame

    async def prepare(self, type: str, metadata: Mapping[str, Any], *, source: str) -> Request:
        """Build the request that posts an event of now; sent twice with `call`, it is the same event."""
        return await self._connection.run(self._calls.post_event(type, metadata, source=source))

    async def call(self, request: Request) -> Any:
        """Send a request and get the JSON that it is answered with.

        Raises:
          ClientError: It was refused, or there was no answer in time.
        """
        return await self._connection.run(self._calls.call(request))

    async def _follow(self, place: frames.Place) -> AsyncGenerator[Frame | None]:
        backoff = Backoff()
        while True:
            try:
                async with aclosing(self._connection.frames(place.request())) as arriving:
                    async for frame in arriving:
                        if frame is not None:
                            backoff.reset()
                        yield frame
                problem = frames.ended()
            except ClientError as error:
                problem = error
            pause = backoff.pause(problem)
            yield None
            await asyncio.sleep(pause)
