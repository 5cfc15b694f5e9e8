"""A connection: headers, SASL, open and close, frames and idleness (AMQP 1.0, 2.4 and 5.3)."""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from ops.emulators.servicebus.codec.frames import (
    AMQP_FRAME,
    AMQP_HEADER,
    BEGIN,
    CLOSE,
    EMPTY_FRAME,
    END,
    OPEN,
    SASL_FRAME,
    SASL_HEADER,
    SASL_INIT,
    SASL_MECHANISMS,
    SASL_OUTCOME,
    AmqpError,
    Frame,
    frame,
    performative,
    read_frame,
)
from ops.emulators.servicebus.codec.values import Array, DecodeError, Symbol, UByte, UInt, UShort
from ops.emulators.servicebus.wire.delay import DelayLine, Latency
from ops.emulators.servicebus.wire.idle import IdleTimer
from ops.emulators.servicebus.wire.ports import Container, WireError, wire_error
from ops.emulators.servicebus.wire.session import Session

MECHANISMS = ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")
CHANNEL_MAX = 255
MIN_FRAME_SIZE = 512
#: How long a peer may take to answer a close.
CLOSE_SECONDS = 1.0

_u32 = struct.Struct(">I").unpack_from


class Connection(asyncio.Protocol):
    """One client.

    Parameters:
      container: What stands behind the wire.
      latency: How much later data come; may change at any time.
    """

    def __init__(self, container: Container, latency: Latency) -> None:
        self.container = container
        self.limits = container.limits
        self.max_frame_out = self.limits.max_frame_size
        self.sessions: dict[int, Session] = {}
        self.can_send = True
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._inward = DelayLine(self._process)
        self._outward = DelayLine(self._write)
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._out: list[bytes] = []
        self._expected: bytes | None = SASL_HEADER
        self._on_frame: Callable[[Frame], None] = self._refuse_frame
        self._is_open = False
        self._is_closing = False
        self._has_said_close = False
        self._timers: list[IdleTimer] = []
        self._unused: IdleTimer | None = None
        self._keep_alive: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to watch the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._silence = IdleTimer(self.limits.idle_timeout_seconds, self._silent)
        self._linkless = IdleTimer(self.limits.first_link_seconds, self._without_link)
        self._timers = [self._silence, self._linkless]
        if self.limits.connection_idle_seconds is not None:
            self._unused = IdleTimer(self.limits.connection_idle_seconds, self._idle)
            self._timers.append(self._unused)
        self.container.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that belongs to the connection."""
        self._transport = None
        self._is_closing = True
        self._inward.cut()
        self._outward.cut()
        for timer in self._timers:
            timer.cancel()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        for session in self.sessions.values():
            session.close()
        self.sessions.clear()
        self.container.disconnected(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._inward.put(data, self._latency.inward)

    def pause_writing(self) -> None:
        """Send no more messages: the client does not read."""
        self.can_send = False

    def resume_writing(self) -> None:
        """Send messages again."""
        self.can_send = True
        for session in tuple(self.sessions.values()):
            session.more()

    def send(self, data: bytes) -> None:
        """Send a frame, together with the others of this turn of the loop; nothing follows a close."""
        if self._has_said_close:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def close(self, error: AmqpError | None) -> None:
        """Close the connection, and hang up when the peer has answered or has had its time (2.4.3)."""
        if self._is_closing:
            return
        self._is_closing = True
        described = None if error is None else error.described()
        if self._is_open:
            self.send(frame(0, performative(CLOSE, [described])))
        self._has_said_close = True
        for session in self.sessions.values():
            session.close()
        self._flush()
        self._loop.call_later(CLOSE_SECONDS if self._is_open else 0, self.hang_up)

    def hang_up(self) -> None:
        """Close the socket once what is written has gone out."""
        if self._transport is None:
            return
        if self._outward.is_empty:
            self._transport.close()
        else:
            self._loop.call_later(self._latency.outward or 0.001, self.hang_up)

    def abort(self) -> None:
        """Cut the socket without a word."""
        if self._transport is not None:
            self._transport.abort()

    def touch(self) -> None:
        """A link of the connection has been used."""
        if self._unused is not None:
            self._unused.touch()

    def links_changed(self) -> None:
        """Count the time without a link, from when the last is gone."""
        self._linkless.cancel()
        has_link = any(link.is_open for session in self.sessions.values() for link in session.links.values())
        if not has_link and not self._is_closing:
            self._linkless.restart(self.limits.no_link_seconds)

    def _process(self, data: bytes) -> None:
        self._silence.touch()
        if self._pending:
            data = self._pending + data
        try:
            used = self._consume(data)
        except (DecodeError, WireError) as error:
            used = len(data)
            self._fail(error)
        self._pending = data[used:] if used < len(data) else b""

    def _consume(self, data: bytes) -> int:
        position, total = 0, len(data)
        while total - position >= 8:
            if self._expected is not None:
                self._header(data[position : position + 8])
                position += 8
                continue
            size = _u32(data, position)[0]
            if size < 8 or size > self.limits.max_frame_size:
                raise wire_error("amqp:connection:framing-error", f"a frame of {size} bytes is not allowed")
            if total - position < size:
                break
            self._on_frame(read_frame(data, position, position + size))
            position += size
        return position

    def _header(self, header: bytes) -> None:
        """Agree on the protocol (2.2): SASL first, then AMQP 1.0."""
        if header != self._expected:
            self.send(self._expected or SASL_HEADER)
            self._flush()
            self.close(None)
            return
        self.send(header)
        if header == SASL_HEADER:
            mechanisms = Array(tuple(Symbol(name) for name in MECHANISMS))
            self.send(frame(0, performative(SASL_MECHANISMS, [mechanisms]), kind=SASL_FRAME))
            self._on_frame = self._sasl_frame
        else:
            self._on_frame = self._amqp_frame
        self._expected = None

    def _refuse_frame(self, received: Frame) -> None:
        raise wire_error("amqp:not-allowed", f"performative {received.code:#04x} comes before its header")

    def _sasl_frame(self, received: Frame) -> None:
        mechanism, response = received.field(0), received.field(1, b"")
        if received.code != SASL_INIT or not isinstance(mechanism, str) or not isinstance(response, bytes):
            raise wire_error("amqp:decode-error", "a sasl-init is expected")
        is_known = mechanism in MECHANISMS
        is_good = is_known and self.container.authenticate(self, mechanism, response)
        outcome: list[object] = [UByte(0 if is_good else 1)]
        self.send(frame(0, performative(SASL_OUTCOME, outcome), kind=SASL_FRAME))
        if is_good:
            self._expected = AMQP_HEADER
            self._on_frame = self._refuse_frame
        else:
            self.close(None)

    def _amqp_frame(self, received: Frame) -> None:
        if received.kind != AMQP_FRAME:
            raise wire_error("amqp:connection:framing-error", f"a frame of type {received.kind} is not AMQP")
        if received.code == -1:
            return
        if received.code == CLOSE:
            self._closed()
        elif self._is_closing:
            return
        elif received.code == OPEN:
            self._open(received)
        elif not self._is_open:
            raise wire_error("amqp:not-allowed", "a connection begins with an open")
        elif received.code == BEGIN:
            self._begin(received)
        elif received.code == END:
            self._end(received)
        else:
            session = self.sessions.get(received.channel)
            if session is None:
                raise wire_error("amqp:not-allowed", f"channel {received.channel} has no session")
            self.touch()
            session.handle(received)

    def _open(self, received: Frame) -> None:
        if self._is_open:
            raise wire_error("amqp:illegal-state", "the connection is open already")
        largest = received.number(2, 0xFFFFFFFF)
        self._is_open = True
        limits = self.limits
        fields: list[object] = [
            self.container.container_id,
            None,
            UInt(limits.max_frame_size),
            UShort(CHANNEL_MAX),
            UInt(round(limits.idle_timeout_seconds * 1000)),
        ]
        self.send(frame(0, performative(OPEN, fields)))
        if largest < MIN_FRAME_SIZE:
            raise wire_error("amqp:invalid-field", f"max-frame-size must be {MIN_FRAME_SIZE} or more")
        self.max_frame_out = min(limits.max_frame_size, largest)
        patience = received.number(4, 0)
        if patience:
            self._keep(patience / 2000)

    def _begin(self, received: Frame) -> None:
        if received.channel > CHANNEL_MAX or received.channel in self.sessions:
            raise wire_error("amqp:not-allowed", f"channel {received.channel} is not free")
        self.sessions[received.channel] = Session(self, received.channel, received)

    def _end(self, received: Frame) -> None:
        session = self.sessions.pop(received.channel, None)
        if session is not None:
            session.close()
            self.send(frame(received.channel, performative(END, [])))
            self.links_changed()

    def _closed(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.send(frame(0, performative(CLOSE, [])))
            self._has_said_close = True
            self._flush()
        self.hang_up()

    def _fail(self, error: Exception) -> None:
        reason = error.error if isinstance(error, WireError) else AmqpError("amqp:decode-error", str(error))
        self.close(reason)

    def _silent(self) -> None:
        self.close(inactive(self.limits.idle_timeout_seconds, self.container.container_id))

    def _without_link(self) -> None:
        self.close(inactive(self._linkless.seconds, "LinkTracker"))

    def _idle(self) -> None:
        if self._unused is not None:
            self.close(inactive(self._unused.seconds, self.container.container_id))

    def _keep(self, seconds: float) -> None:
        """Send empty frames, twice as often as the peer demands (2.4.5)."""
        if self._transport is not None:
            self.send(EMPTY_FRAME)
            self._keep_alive = self._loop.call_later(seconds, self._keep, seconds)

    def _flush(self) -> None:
        if self._out:
            data = b"".join(self._out)
            self._out = []
            self._outward.put(data, self._latency.outward)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def inactive(seconds: float, container: str) -> AmqpError:
    """Say that a connection was closed because it was not used."""
    return AmqpError(
        "amqp:connection:forced",
        f"The connection was inactive for more than the allowed {round(seconds * 1000)} milliseconds and is "
        f"closed by container '{container}'.",
    )
