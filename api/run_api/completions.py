"""`/v1`: the language model for code in a container, in the words of OpenAI's chat completions.

Any SDK of OpenAI finds it by ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. The platform holds the key of the
provider, counts the tokens and keeps them within the task's budget.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Final, Literal

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.metering import Asked, Metered, MeteredPiece
from api.operation import Operation
from api.platform import Platform
from api.requests import platform, respond
from api.run_api.access import read_said, run_access
from api.run_api.chat_forms import CompletionAsked, read
from api.run_api.chat_shown import ChunkShown, CompletionShown, Writer, event
from api.run_api.model_problems import ModelProblem, error_of, failed
from lightning.domain.run_tokens import RunAccess
from lightning.errors import InvalidRequest, LightningError, Permanent, Transient, Unauthorized
from lightning.ids import new_id
from lightning.llm.bill import CALL_SECONDS

#: A conversation of a million tokens has about so many bytes.
MAX_BYTES: Final = 4 * 1024 * 1024

#: A call whose run ended is cut off within so long.
CHECK_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class ModelShown(BaseModel):
    """A model that runs may ask."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsShown(BaseModel):
    """The models that runs may ask."""

    object: Literal["list"]
    data: list[ModelShown]


def _shaped(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Answer what fails so that SDKs of OpenAI understand it."""

    @wraps(endpoint)
    async def shaped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except LightningError as error:
            return failed(error)

    return shaped


@_shaped
async def list_models(request: Request) -> Response:
    """List the models that a run may ask, the usual one first but for the echo."""
    await run_access(request)
    parts = platform(request)
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": parts.settings.llm}
        for name in parts.models.allowed
    ]
    return respond({"object": "list", "data": models})


@_shaped
async def complete(request: Request) -> Response:
    """Continue a conversation, at once or streamed, with tools if some are offered.

    What it costs is reserved on the task's budget before, and settled after. A client that leaves ends the
    call, which is paid for as far as it came. Of a call whose model's server does not say what it cost,
    ``usage`` is our estimate, and says so (``estimated``).
    """
    access = await run_access(request)
    asked = read(CompletionAsked, await read_said(request, max_bytes=MAX_BYTES))
    if asked.stream_options is not None and not asked.stream:
        raise InvalidRequest(
            "'stream_options' is only allowed when 'stream' is true.",
            code="invalid_parameter",
            pointer="/stream_options",
        )
    return _Answering(platform(request), access, asked)


class _Answering(Response):
    """Answers one call, for as long as somebody wants it."""

    def __init__(self, parts: Platform, access: RunAccess, asked: CompletionAsked) -> None:
        super().__init__()
        self._parts = parts
        self._access = access
        self._asked = Asked(asked.model, asked.said(), asked.offered(), asked.options())
        self._streams = bool(asked.stream)
        include_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        self._writer = Writer(new_id(), asked.model, include_usage=include_usage)
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI 3), until it is done or the client, the run's right or the time is gone."""
        del scope
        work = asyncio.create_task(self._answer(send))
        gone, revoked = asyncio.create_task(_gone(receive)), asyncio.create_task(self._revoked())
        tasks = {work, gone, revoked}
        try:
            done, _ = await asyncio.wait(tasks, timeout=CALL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if work in done:
            work.result()
        elif gone not in done:
            await self._fail(_cut(is_revoked=revoked in done), send)

    async def _answer(self, send: Send) -> None:
        try:
            async with aclosing(self._parts.models.answer(self._access, self._asked)) as pieces:
                async for piece in pieces:
                    if self._streams:
                        await self._send_piece(piece, send)
                    elif isinstance(piece, Metered):
                        await self._send_whole(piece, send)
        except LightningError as error:
            await self._fail(error, send)
        except TimeoutError:
            _log.info("slow_reader_left", run=self._access.run["id"])

    async def _send_whole(self, metered: Metered, send: Send) -> None:
        await self._start(200, "application/json", send)
        await self._send(orjson.dumps(self._writer.whole(metered)), send, more=False)

    async def _send_piece(self, piece: MeteredPiece, send: Send) -> None:
        if not self._begun:
            await self._start(200, "text/event-stream", send)
            await self._send(self._writer.head(), send)
        if isinstance(piece, Metered):
            await self._send(self._writer.tail(piece), send, more=False)
        else:
            await self._send(self._writer.delta(piece), send)

    async def _fail(self, error: LightningError, send: Send) -> None:
        """Say what failed: by a status before the answer began, else as the stream's last event."""
        if self._begun:
            await self._send(event({"error": error_of(error)[1]["error"]}), send, more=False)
            return
        response = failed(error)
        start = {"type": "http.response.start", "status": response.status_code}
        await send({**start, "headers": response.raw_headers})
        await self._send(bytes(response.body), send, more=False)

    async def _start(self, status: int, media_type: str, send: Send) -> None:
        self._begun = True
        headers = [
            (b"content-type", media_type.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send(self, data: bytes, send: Send, *, more: bool = True) -> None:
        async with asyncio.timeout(self._parts.settings.slow_reader_seconds):
            await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _revoked(self) -> None:
        """Wait until the run may no longer ask; while the store does not answer, what was right stays so."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                if not await self._parts.run_tokens.still_good(self._access):
                    return
            except Transient:
                continue


def _cut(*, is_revoked: bool) -> LightningError:
    if is_revoked:
        return Unauthorized("the run is over, and its calls with it", code="invalid_token")
    return Permanent(
        f"The call took longer than {CALL_SECONDS:.0f} seconds and was ended.", code="call_too_long"
    )


async def _gone(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


ROUTES = (
    Operation(
        "GET",
        "/v1/models",
        list_models,
        summary="List the models that a run may ask.",
        scope=None,
        for_runs=True,
        tag="model",
        answers={200: ModelsShown},
        problem_form=ModelProblem,
    ),
    Operation(
        "POST",
        "/v1/chat/completions",
        complete,
        summary="Continue a conversation with a language model, within the task's budget.",
        scope=None,
        for_runs=True,
        tag="model",
        body=CompletionAsked,
        raw_body=True,
        answers={200: {"application/json": CompletionShown, "text/event-stream": ChunkShown}},
        problem_form=ModelProblem,
        problems={
            400: (
                *("not_json", "not_utf8", "too_deep", "duplicate_key", "number_out_of_range"),
                *("unstorable_text", "invalid_request", "unsupported_parameter", "invalid_parameter"),
                *("context_too_long", "model_refused"),
            ),
            402: ("budget_exhausted",),
            404: ("model_not_found",),
            422: ("call_too_long",),
            429: ("too_many_calls", "budget_reserved", "model_rate_limited", "model_quota_exhausted"),
            502: ("model_not_configured", "model_credentials_refused"),
            503: ("model_unavailable", "model_unreachable", "model_stream_cut", "model_identity_unavailable"),
            504: ("model_timeout",),
        },
    ),
)
