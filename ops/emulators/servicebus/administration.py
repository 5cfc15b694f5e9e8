"""The administration API, as far as it lists queues: ``GET /$Resources/queues``, over HTTP on the AMQP port.

Source: Microsoft, "Service Bus REST API: Queues - List". Azure serves it by HTTPS at the same host.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

from ops.emulators.servicebus.access import TokenError
from ops.emulators.servicebus.entities.queue import Queue

if TYPE_CHECKING:
    from ops.emulators.servicebus.container import ServiceBusContainer

PATH = "/$Resources/queues"
ATOM = "http://www.w3.org/2005/Atom"
DESCRIPTION = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
#: How Azure writes that nothing expires.
FOR_EVER = "P10675199DT2H48M5.4775807S"

MAX_HEADERS = 100
READ_SECONDS = 5.0


class Front(asyncio.Protocol):
    """Takes a connection, and hands it to who speaks what its client does.

    Parameters:
      amqp: Makes what speaks AMQP.
      container: The namespace that is administered by HTTP.
    """

    def __init__(self, amqp: Callable[[], asyncio.Protocol], container: "ServiceBusContainer") -> None:
        self._amqp = amqp()
        self._container = container
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first words; until then it is a connection like any other."""
        self._transport = cast("asyncio.Transport", transport)
        self._amqp.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who has it."""
        self._amqp.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand over the connection, with its first words."""
        if not data.startswith(b"GET "):
            self._transport.set_protocol(self._amqp)
            self._amqp.data_received(data)
            return
        self._amqp.connection_lost(None)
        reader = asyncio.StreamReader()
        served = asyncio.StreamReaderProtocol(reader, self._serve)
        self._transport.set_protocol(served)
        served.connection_made(self._transport)
        served.data_received(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                status, body = self._answer(*await _read(reader))
                head = (
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/atom+xml\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the client has gone, or speaks something else: nobody is there to be told
        finally:
            writer.close()

    def _answer(self, target: str, token: str) -> tuple[HTTPStatus, bytes]:
        container = self._container
        if (fault := container.faults.strike("administer", "")) is not None:
            return _refusal(HTTPStatus(401 if fault.kind == "not-allowed" else 503), "A fault was asked for.")
        try:
            container.policy.check_token(token)
        except TokenError as error:
            return _refusal(HTTPStatus.UNAUTHORIZED, str(error))
        parts = urlsplit(target)
        if parts.path != PATH:
            return _refusal(HTTPStatus.NOT_FOUND, "This emulator lists queues, and does nothing else.")
        query = parse_qs(parts.query)
        skip, top = (int(query.get(name, [usual])[0]) for name, usual in (("$skip", "0"), ("$top", "100")))
        return HTTPStatus.OK, _feed(container.namespace.queues()[skip : skip + top])


async def _read(reader: asyncio.StreamReader) -> tuple[str, str]:
    _method, target, _version = (await reader.readline()).decode("ascii").split()
    token = ""
    for _ in range(MAX_HEADERS):
        name, _, value = (await reader.readline()).decode("latin-1").strip().partition(":")
        if not name:
            break
        if name.lower() == "authorization":
            token = value.strip()
    return target, token


def _refusal(status: HTTPStatus, words: str) -> tuple[HTTPStatus, bytes]:
    error = ET.Element("Error")
    ET.SubElement(error, "Code").text = str(status.value)
    ET.SubElement(error, "Detail").text = words
    return status, ET.tostring(error)


def _feed(queues: list[Queue]) -> bytes:
    feed = ET.Element(f"{{{ATOM}}}feed")
    for queue in queues:
        entry = ET.SubElement(feed, f"{{{ATOM}}}entry")
        ET.SubElement(entry, f"{{{ATOM}}}title", type="text").text = queue.name
        content = ET.SubElement(entry, f"{{{ATOM}}}content", type="application/xml")
        description = ET.SubElement(content, f"{{{DESCRIPTION}}}QueueDescription")
        for name, value in _described(queue).items():
            ET.SubElement(description, f"{{{DESCRIPTION}}}{name}").text = value
    return ET.tostring(feed)


def _described(queue: Queue) -> dict[str, str]:
    """Give the properties, in the order that Azure has them."""
    properties = queue.properties
    life = (
        "P10675199DT2H48M5.4775807S" if properties.time_to_live is None else f"PT{properties.time_to_live:g}S"
    )
    return {
        "LockDuration": f"PT{properties.lock_duration:g}S",
        "RequiresDuplicateDetection": str(properties.duplicate_window is not None).lower(),
        "RequiresSession": "false",
        "DefaultMessageTimeToLive": life,
        "DeadLetteringOnMessageExpiration": str(properties.dead_letters_expired).lower(),
        "MaxDeliveryCount": str(properties.max_delivery_count),
    }
