"""Links to Service Bus: those of the SDK, whose frames we read ourselves.

The SDK reads a connection only while somebody waits in one of its calls, under a lock that its writers need
too: a settlement waits for the poll before it (up to 0.2 s), a batch is returned only after a gap of 0.2 s,
and each of many that wait reads one frame for all the others. Here one task reads each connection, at once
and for everybody, and writers do not wait for it. For that the files `servicebus_wire*`, and they alone, use
parts of the SDK that are not public; `azure-servicebus` is therefore pinned to one version.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from azure.servicebus._pyamqp import error as amqp
from azure.servicebus._pyamqp.constants import CbsAuthState, LinkState
from azure.servicebus.aio._async_utils import (
    create_authentication,  # pyright: ignore[reportUnknownVariableType] -- typed in part
)

from brokers.servicebus_faults import LinkLost, Unauthorized, report

OPEN_SECONDS: Final = 20.0
CLOSE_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 15.0

#: How often we ask the other side to send something (AMQP 2.4.5), in whole seconds. All SDKs of Microsoft ask
#: for this, and its AMQP library takes no less.
IDLE_SECONDS: Final = 60

#: When it has sent nothing for so long, it is gone, whatever its TCP says.
SILENCE_SECONDS: Final = 90.0

_HEARTBEATS_PER_TIMEOUT: Final = 5
_FRAMES_PER_TURN: Final = 100

#: How often to look whether the token runs out; the SDK asks for a new one in the last tenth of its time.
_LOOK_AT_TOKEN_SECONDS: Final = 5.0


class Link:
    """A link on a connection of its own.

    Parameters:
      owner: The SDK's sender or receiver that knows the address; it is used for nothing else.
    """

    #: How often the other side is asked to send something; None on links that are read only now and then.
    _idle_seconds: int | None = IDLE_SECONDS

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._handler: Any = None
        self._connection: Any = None
        self._turn = asyncio.Lock()  # the frames of one delivery must not mix with those of another
        self._unanswered = asyncio.Event()
        self.amqp: Any = None

    async def open(self) -> None:
        """Connect, authenticate and attach.

        Raises:
          Exception: What the SDK raises; nothing is left open then.
        """
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._owner._create_handler(await create_authentication(self._owner))
                self._handler = self._owner._handler
                self._handler._idle_timeout = self._idle_seconds
                await self._handler.open_async()
                _complete_errors(self._handler._connection)
                while not await self._handler.client_ready_async():
                    pass  # it has read a frame meanwhile
        except BaseException as error:
            await self.close()
            if isinstance(error, amqp.AuthenticationException):
                raise Unauthorized(str(error)) from error
            raise
        self._owner._running = True
        self._connection = self._handler._connection
        self._connection._idle_timeout = None  # from here on it is `_beat` that listens for silence
        self.amqp = self._handler._link
        transport = self._connection._transport
        transport.write = transport._write  # which does not wait for the lock that the reader holds

    async def run(self) -> None:
        """Read what comes, until the link ends.

        Raises:
          Exception: Why it ended.
        """
        works = [self._read(), self._beat(), self._stay_authorized()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def close(self) -> None:
        """Detach and disconnect; whatever happens, no socket is left open."""
        handler, self._handler = self._handler, None
        handler = handler or self._owner._handler
        self._owner._handler, self._owner._running = None, False
        if handler is None:
            return
        connection = handler._connection or self._connection  # the SDK may have closed its own half
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await handler.close_async()
        except Exception:  # noqa: BLE001, S110 -- the other side is gone, or the SDK is in a state of its own
            pass
        finally:
            if connection is not None:
                await _abort(connection._transport)

    async def _read(self) -> None:
        while self.amqp.get_state() is LinkState.ATTACHED:
            await self._connection.listen(wait=True, batch=_FRAMES_PER_TURN)
        raise self._connection._error or LinkLost("the link ended")

    async def _beat(self) -> None:
        """Tell the other side that we are here, and notice when it is not."""
        timeout = min(self._connection._remote_idle_timeout or SILENCE_SECONDS, SILENCE_SECONDS)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout / _HEARTBEATS_PER_TIMEOUT):
                    await self._unanswered.wait()
                raise LinkLost(f"there was no answer within {ANSWER_SECONDS:g} s")
            if time.time() - self._connection._last_frame_received_time > SILENCE_SECONDS:
                raise LinkLost(f"nothing was received for {SILENCE_SECONDS:g} s")
            with contextlib.suppress(TimeoutError):  # what a peer that hangs does not read cannot be written
                async with asyncio.timeout(timeout / _HEARTBEATS_PER_TIMEOUT):
                    await self._connection._get_remote_timeout(time.time())

    @contextlib.asynccontextmanager
    async def _answered(self) -> AsyncGenerator[None]:
        """Wait for an answer; a link on which none comes in time is not trusted any more: `run` ends it.

        Raises:
          LinkLost: None has come.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                yield
        except TimeoutError as error:
            self._unanswered.set()
            raise LinkLost(f"there was no answer within {ANSWER_SECONDS:g} s") from error

    async def _stay_authorized(self) -> None:
        """Put a new token in time; as long as the last one is good, a failure to do so ends nothing.

        Only `_read` may read: what the SDK does to wait for a token's answer would take frames from under it.
        """
        cbs = self._handler._cbs_authenticator
        put, good_until = cbs._put_token, cbs._expires_on

        async def put_alone(*token: Any) -> None:
            async with self._turn:
                await put(*token)

        cbs._put_token = put_alone
        while True:
            await asyncio.sleep(_LOOK_AT_TOKEN_SECONDS)
            try:
                if await cbs.handle_token():
                    good_until = cbs._expires_on
            except Exception as error:
                if time.time() >= good_until:
                    raise
                report(error, self._owner._entity_path, "authorize")
                cbs._expires_on, cbs.auth_state = good_until, CbsAuthState.REFRESH_REQUIRED


def _complete_errors(connection: Any) -> None:
    """Give the SDK all fields of the error of a close; AMQP lets the other side leave out the last ones."""
    closed = connection._incoming_close

    async def complete(channel: int, frame: Sequence[Any]) -> None:
        error = [*frame[0], None, None] if frame[0] else None
        await closed(channel, [error])

    connection._incoming_close = complete


async def _abort(transport: Any) -> None:
    writer = transport.writer
    if writer is not None:
        writer.transport.abort()
        with contextlib.suppress(Exception):
            await writer.wait_closed()
        transport.writer = transport.reader = None
