"""Requests and responses over a pair of links (AMQP Management 1.0, working draft)."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from ops.emulators.servicebus.codec.decode import decode
from ops.emulators.servicebus.codec.encode import encode
from ops.emulators.servicebus.codec.frames import raw_fields
from ops.emulators.servicebus.codec.outcomes import ACCEPTED_STATE
from ops.emulators.servicebus.codec.values import DecodeError, Described, Int, Raw, Symbol, ULong
from ops.emulators.servicebus.entities.message import (
    APPLICATION_PROPERTIES,
    PROPERTIES,
    VALUE,
    section_code,
)
from ops.emulators.servicebus.wire.connection import Connection
from ops.emulators.servicebus.wire.incoming import Delivery
from ops.emulators.servicebus.wire.outgoing import OutgoingLink
from ops.emulators.servicebus.wire.ports import Settlement

NULL = b"\x40"


@dataclass(slots=True)
class Request:
    """What was asked.

    Parameters:
      message_id: The encoded message-id, which the response repeats as its correlation-id.
      reply_to: The address of the link that the response goes to.
      properties: The application properties.
      body: The value in the body.
    """

    message_id: bytes = NULL
    reply_to: str = ""
    properties: dict[str, object] = field(default_factory=dict[str, object])
    body: object = None


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered.

    Parameters:
      status: An HTTP-like status.
      description: What a person reads.
      condition: The error condition, if it failed.
      body: The value in the body.
    """

    status: int
    description: str = "OK"
    condition: str | None = None
    body: object = None


Handler = Callable[["RequestSink", Delivery, Request], None]


class ResponseSource:
    """Sends responses as the peer gives credit for them.

    Parameters:
      address: The peer's end, by which a request names it.
      closed: What is called when the link is gone.
    """

    def __init__(self, address: str, closed: Callable[["ResponseSource"], None]) -> None:
        self.address = address
        self._closed = closed
        self._waiting: deque[bytes] = deque()
        self._link = cast("OutgoingLink", None)

    def start(self, link: OutgoingLink) -> None:
        """Remember the link."""
        self._link = link

    def put(self, message: bytes) -> None:
        """Send a message, now or when there is credit."""
        self._waiting.append(message)
        self.more()

    def more(self) -> None:
        """Send what waits."""
        while self._waiting and self._link.can_send:
            tag = self._link.delivery_count.to_bytes(4)
            self._link.send(self._waiting.popleft(), tag)

    def settle(self, settlement: Settlement) -> None:
        """A response is settled whatever the peer says."""
        settlement.answer(ACCEPTED_STATE)

    def close(self) -> None:
        """Let the node forget it."""
        self._closed(self)


class RequestSink:
    """Takes requests, and sends responses on the link that each names.

    Parameters:
      connection: The connection of both links.
      path: The node's entity; empty for the namespace.
      responders: The response links of the node on this connection.
      handle: What answers a request.
      status_names: The names of the status and its description.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        *,
        responders: list[ResponseSource],
        handle: Handler,
        status_names: tuple[str, str] = ("statusCode", "statusDescription"),
    ) -> None:
        self.connection = connection
        self.path = path
        self._responders = responders
        self._handle = handle
        self._status_names = status_names

    def accept(self, delivery: Delivery) -> None:
        """Read a request and have it answered."""
        request = Request()
        try:
            _read(delivery.payload, request)
        except DecodeError as error:
            self.respond(request, Response(400, str(error), "amqp:decode-error"))
        else:
            self._handle(self, delivery, request)
        delivery.settle(ACCEPTED_STATE)

    def respond(self, request: Request, response: Response) -> None:
        """Send a response, if there is a link for it."""
        if not self._responders:
            return
        named = [link for link in self._responders if link.address == request.reply_to]
        (named or self._responders)[-1].put(self._encode(request, response))

    def close(self) -> None:
        """Nothing is held."""

    def _encode(self, request: Request, response: Response) -> bytes:
        code, description = self._status_names
        properties: dict[object, object] = {code: Int(response.status), description: response.description}
        if response.condition is not None:
            properties["errorCondition"] = Symbol(response.condition)
        out = bytearray()
        correlation: list[object] = [None, None, None, None, None, Raw(request.message_id)]
        encode(Described(ULong(PROPERTIES), correlation), out)
        encode(Described(ULong(APPLICATION_PROPERTIES), properties), out)
        encode(Described(ULong(VALUE), response.body), out)
        return bytes(out)


def _read(payload: bytes, request: Request) -> None:
    position = 0
    while position < len(payload):
        code = section_code(payload, position)
        section, end = decode(payload, position)
        value = section.value if isinstance(section, Described) else None
        if code == PROPERTIES and isinstance(value, list):
            fields = raw_fields(payload[position:end])
            request.message_id = fields[0] if fields else NULL
            reply_to = cast("list[object]", value)[4] if len(fields) > 4 else None
            request.reply_to = reply_to if isinstance(reply_to, str) else ""
        elif code == APPLICATION_PROPERTIES and isinstance(value, dict):
            items = cast("dict[object, object]", value).items()
            request.properties = {str(name): item for name, item in items}
        elif code == VALUE:
            request.body = value
        position = end
