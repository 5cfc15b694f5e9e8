"""`/api/ws`: the same stream as `/api/stream` over a WebSocket, which takes events as well."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import orjson
import structlog
from opentelemetry import trace
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.accepting import accept
from api.approvals import decide
from api.connections import abort
from api.follow import Item, follow
from api.frames import (
    AcceptedFrame,
    DecidedFrame,
    DecisionFrame,
    DeltaFrame,
    EventFrame,
    HeartbeatFrame,
    PostedFrame,
    ProblemFrame,
    ProgressFrame,
    RunLinesFrame,
    RunStageFrame,
)
from api.operation import WebSocketOperation
from api.platform import Platform
from api.problems import details, refusal
from api.requests import MAX_BODY_BYTES, check_scope, platform, whole_number
from api.stream import LINGER_SECONDS, Position, kind_of, position
from api.stream_access import stream_claims
from api.streams import Stream
from api.tracing import frame_span
from lightning.errors import InvalidEvent, LightningError, json_pointer
from lightning.log import public
from lightning.strict_json import Json, TooLarge, loads
from lightning.telemetry import names

_log = structlog.get_logger(__name__)

PATH = "/api/ws"

#: The subprotocol that these frames are.
SUBPROTOCOL = "lightning.v1"

#: The largest frame: an event, and what is around it.
MAX_FRAME_BYTES = MAX_BODY_BYTES + 8 * 1024

#: An event stands one deeper in a frame than in a body.
MAX_FRAME_DEPTH = 33

#: A client that sends more unreadable frames has another protocol in mind.
MAX_UNREADABLE = 10

# Why a connection is closed (RFC 6455, section 7.4); those from 4000 on are our own.
NOT_TEXT = 1003
VIOLATION = 1008
FAILED = 1011
RESTART = 1012
EXPIRED = 4401


async def talk(websocket: WebSocket) -> None:
    """Stream the caller's events, and take events from them."""
    parts = platform(websocket)
    try:
        claims = await stream_claims(websocket)
        after = position(websocket)
        deltas = whole_number(websocket, "deltas", 1, highest=1) == 1
        with parts.streams.open(claims, deltas=deltas) as stream:
            offered: list[str] = websocket.scope["subprotocols"]
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await _Talk(websocket, parts, stream).run(after)
    except LightningError as error:
        await websocket.send_denial_response(refusal(error))
    except WebSocketDisconnect:
        return


class _Talk:
    """One open connection."""

    def __init__(self, websocket: WebSocket, parts: Platform, stream: Stream) -> None:
        self._websocket = websocket
        self._parts = parts
        self._stream = stream
        self._abort = abort(websocket.scope)

    async def run(self, after: int) -> None:
        """Talk until either side ends it."""
        telling = asyncio.create_task(self._tell(after))
        try:
            await self._listen()
        finally:
            telling.cancel()
            await asyncio.wait({telling})
            # closing waits for the reader to take what is written; a reader that does not is cut off
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._abort)

    async def _tell(self, after: int) -> None:
        """Send the log; whatever ends this ends the connection, and so the listening."""
        try:
            async with aclosing(follow(self._parts, self._stream, after)) as items:
                async for item in items:
                    for frame in _frames(item):
                        await self._send(frame)
            await self._close(EXPIRED if self._stream.expired else RESTART)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 -- nobody else would hear of it
            _log.error("websocket_failed", exc_info=error)
            await self._close(FAILED)

    async def _listen(self) -> None:
        """Take frames, one after the other."""
        unreadable = 0
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text: str | None = message.get("text")
            if text is None:
                await self._close(NOT_TEXT)
                continue
            try:
                frame = _read(text)
            except LightningError as error:
                unreadable += 1
                await self._send(_problem(None, error))
                if unreadable > MAX_UNREADABLE:
                    await self._close(VIOLATION)
                continue
            await self._send(await self._take(frame))

    async def _take(self, frame: PostedFrame | DecisionFrame) -> dict[str, Any]:
        with frame_span(PATH) as span:
            try:
                if isinstance(frame, DecisionFrame):
                    check_scope(self._stream.claims, "approvals:write")
                    decided = await decide(
                        self._parts, self._stream.claims.subject, frame.approvalID, frame.decision, frame.hash
                    )
                    return {"type": "decided", "ref": frame.ref, "approval": decided}
                check_scope(self._stream.claims, "events:write")
                _check_size(frame.event)
                event = await accept(self._parts, self._stream.claims, frame.event, frame.idempotencyKey)
            except LightningError as error:
                span.set_attribute(names.ERROR_CODE, error.code)
                return _problem(frame.ref, error)
            except Exception as error:  # noqa: BLE001 -- the fault is ours, and the client waits for an answer
                _log.error("request_failed", path=PATH, exc_info=error)
                span.set_status(trace.StatusCode.ERROR)
                failed = LightningError("the platform failed; the operators can see why")
                return _problem(frame.ref, failed)
        return {"type": "accepted", "ref": frame.ref, "event": public(event)}

    async def _send(self, frame: dict[str, Any]) -> None:
        """Send a frame, or cut off a reader that does not take it."""
        try:
            async with asyncio.timeout(self._parts.settings.slow_reader_seconds):
                await self._websocket.send_text(orjson.dumps(frame).decode())
        except TimeoutError:
            self._abort()
            raise WebSocketDisconnect(1006) from None
        except RuntimeError:  # it was closed by the other task
            raise WebSocketDisconnect(1006) from None

    async def _close(self, code: int) -> None:
        try:
            async with asyncio.timeout(self._parts.settings.slow_reader_seconds):
                with suppress(WebSocketDisconnect, RuntimeError):  # it is closed
                    await self._websocket.close(code)
        except TimeoutError:
            self._abort()


def _frames(item: Item) -> list[dict[str, Any]]:
    if item is None:
        return [{"type": "heartbeat"}]
    if isinstance(item, list):
        return [{"type": kind_of(each), **each.model_dump()} for each in item]
    return [{"type": "event", "event": public(item)}]


def _read(text: str) -> PostedFrame | DecisionFrame:
    """Read a frame.

    Raises:
      InvalidRequest: It is not JSON that can be kept.
      InvalidEvent: It is no frame that is taken.
    """
    raw = loads(text.encode(errors="surrogatepass"), max_bytes=MAX_FRAME_BYTES, max_depth=MAX_FRAME_DEPTH)
    try:
        is_decision = isinstance(raw, dict) and raw.get("type") == "decision"
        return (DecisionFrame if is_decision else PostedFrame).model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise InvalidEvent(first["msg"], code="invalid_frame", pointer=json_pointer(first["loc"])) from None


def _check_size(event: Json) -> None:
    if len(orjson.dumps(event)) > MAX_BODY_BYTES:
        raise TooLarge(f"the event is over {MAX_BODY_BYTES} bytes")


def _problem(ref: str | None, error: LightningError) -> dict[str, Any]:
    problem = details(error.status, error.code, error.message, pointer=error.pointer)
    return {"type": "problem", "ref": ref, "problem": problem}


WEBSOCKETS = (
    WebSocketOperation(
        PATH,
        talk,
        summary="Stream the caller's events over a WebSocket, which takes events as well.",
        scope="events:read",
        query=Position,
        takes=(PostedFrame, DecisionFrame),
        gives=(
            *(EventFrame, DeltaFrame, RunStageFrame, RunLinesFrame, ProgressFrame),
            *(HeartbeatFrame, AcceptedFrame, DecidedFrame, ProblemFrame),
        ),
        closes={
            NOT_TEXT: "a binary frame came",
            VIOLATION: "too many frames were unreadable",
            1009: "a frame was too large",
            FAILED: "the platform failed, or the client does not answer pings",
            RESTART: "the ingress restarts; come back with `after`",
            EXPIRED: "the access token no longer counts",
        },
        refusals=("invalid_frame", "scope_missing"),
        problems={
            400: ("invalid_position", "invalid_parameter", "token_in_url"),
            403: ("foreign_origin",),
            429: ("too_many_streams",),
        },
    ),
)
