"""The control API: what is going on, and what is to go wrong. HTTP on a loopback port of its own.

``GET /state``; ``PUT /latency {"inward_ms", "outward_ms"}``; ``PUT /listening {"accepting"}``;
``GET | POST | DELETE /faults``, ``DELETE /faults/N`` (a `Fault`); ``POST /break {"how", "entity"}``;
``POST /locks/lose {"entity"}``; ``PUT /idle {"link_seconds", "connection_seconds"}``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from ops.emulators.servicebus.entities.message import State
from ops.emulators.servicebus.entities.queue import Queue
from ops.emulators.servicebus.entities.topic import Topic
from ops.emulators.servicebus.faults import Fault

if TYPE_CHECKING:
    from ops.emulators.servicebus.namespace_server import NamespaceServer

HOST = "127.0.0.1"
MAX_BODY = 65_536
MAX_HEADERS = 100
READ_SECONDS = 5.0

Json = dict[str, object]
Action = Callable[[Json], Awaitable[object]]


class ControlError(ValueError):
    """A request to the control API is wrong; the text says how."""


class Control:
    """Serves the control API.

    Parameters:
      server: What it controls.
    """

    def __init__(self, server: "NamespaceServer") -> None:
        self._controlled = server
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._actions: dict[str, Action] = {
            "GET /state": self._state,
            "PUT /latency": self._set_latency,
            "PUT /listening": self._set_listening,
            "GET /faults": self._faults,
            "POST /faults": self._add_fault,
            "DELETE /faults": self._remove_faults,
            "POST /break": self._break,
            "POST /locks/lose": self._lose_locks,
            "PUT /idle": self._set_idle,
        }

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None  # noqa: S101 -- it is asked for after the start
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self, port: int) -> None:
        """Listen.

        Raises:
          OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._serve, HOST, port)

    async def stop(self) -> None:
        """Close the port and what is connected to it."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            async with asyncio.timeout(READ_SECONDS):
                status, body = await self._answer(reader)
            payload = json.dumps(body).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + payload)
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the caller has gone or says nothing: nobody is there to be told
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[HTTPStatus, object]:
        try:
            route, body = await _read(reader)
            action = self._actions.get(route)
            if action is None:
                return HTTPStatus.NOT_FOUND, {"error": f"there is {', '.join(self._actions)}"}
            return HTTPStatus.OK, await action(body)
        except (ValueError, TypeError) as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}

    async def _state(self, _body: Json) -> object:
        controlled = self._controlled
        container = controlled.container
        latency = controlled.latency
        return {
            "connections": len(container.clients),
            "latency": {"inward_ms": latency.inward * 1000, "outward_ms": latency.outward * 1000},
            "operations": dict(controlled.faults.operations),
            "struck": dict(controlled.faults.struck),
            "entities": [describe(entity) for entity in container.namespace.entities()],
        }

    async def _set_latency(self, body: Json) -> object:
        inward, outward = (_seconds(body, name) for name in ("inward_ms", "outward_ms"))
        self._controlled.latency.inward = inward
        self._controlled.latency.outward = outward
        return {}

    async def _set_listening(self, body: Json) -> object:
        accepting = body.get("accepting")
        if not isinstance(accepting, bool):
            raise ControlError("accepting must be true or false")
        await self._controlled.accept_connections(accepting=accepting)
        return {}

    async def _set_idle(self, body: Json) -> object:
        limits = self._controlled.container.limits
        if "link_seconds" in body:
            limits.link_idle_seconds = _positive(body, "link_seconds")
        if "connection_seconds" in body:
            is_off = body["connection_seconds"] is None
            limits.connection_idle_seconds = None if is_off else _positive(body, "connection_seconds")
        return {}

    async def _faults(self, _body: Json) -> object:
        return self._controlled.faults.as_json()

    async def _add_fault(self, body: Json) -> object:
        return {"id": self._controlled.faults.add(fault_from_json(body))}

    async def _remove_faults(self, body: Json) -> object:
        number = body.get("id")
        if number is not None and not isinstance(number, int):
            raise ControlError("id must be the number of a fault")
        self._controlled.faults.remove(number)
        return {}

    async def _break(self, body: Json) -> object:
        how, entity = body.get("how", "forced-close"), _entity(body)
        if how not in {"forced-close", "drop", "detach"}:
            raise ControlError("how must be forced-close, drop or detach")
        return {"broken": self._controlled.container.close_all(str(how), entity)}

    async def _lose_locks(self, body: Json) -> object:
        wanted = _entity(body)
        lost = 0
        for entity in self._controlled.container.namespace.entities():
            if isinstance(entity, Queue) and (wanted is None or entity.name.lower() == wanted.lower()):
                lost += entity.lose_locks()
        return {"lost": lost}


def fault_from_json(body: Json) -> Fault:
    """Read a fault.

    Raises:
      ControlError: A field is unknown or wrong.
    """
    unknown = body.keys() - Fault.__dataclass_fields__.keys()
    if unknown or not {"kind", "operation"} <= body.keys():
        raise ControlError(f"a fault has the fields {', '.join(Fault.__dataclass_fields__)}")
    for name, value in body.items():
        is_number = name in {"count", "skip"}
        if value is None and name in {"count", "entity"}:
            continue
        if isinstance(value, bool) or not isinstance(value, int if is_number else str):
            raise ControlError(f"{name} must be a {'number' if is_number else 'text'}")
    return Fault(**cast("dict[str, str]", body))  # pyright: ignore[reportArgumentType] -- checked above


def describe(entity: Queue | Topic) -> Json:
    """Say what an entity holds."""
    states = [message.state for message in entity.messages.values()]
    counts = {state.name.lower(): states.count(state) for state in State}
    locked = entity.locked_count if isinstance(entity, Queue) else 0
    kind = "topic" if isinstance(entity, Topic) else "queue"
    return {"name": entity.name, "kind": kind, "locked": locked, **counts}


async def _read(reader: asyncio.StreamReader) -> tuple[str, Json]:
    method, target, _version = (await reader.readline()).decode("ascii").split()
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = (await reader.readline()).decode("latin-1").strip()
        if not line:
            break
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if host not in {HOST, "localhost"}:  # a page that a browser was lured to has another name
        raise ControlError("the host must be 127.0.0.1 or localhost")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY:
        raise ControlError(f"a body has at most {MAX_BODY} bytes")
    body: object = json.loads(await reader.readexactly(length)) if length else {}
    if not isinstance(body, dict):
        raise ControlError("the body must be a JSON object")
    return f"{method} {target}", cast("Json", body)


def _seconds(body: Json, name: str) -> float:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60_000:
        raise ControlError(f"{name} must be a number of milliseconds from 0 to 60000")
    return value / 1000


def _positive(body: Json, name: str) -> float:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ControlError(f"{name} must be a number of seconds, more than 0 and at most 86400")
    return value


def _entity(body: Json) -> str | None:
    entity = body.get("entity")
    if entity is not None and not isinstance(entity, str):
        raise ControlError("entity must be a path")
    return entity
