"""The emulated endpoint itself: reads a request, finds its step and plays it."""

import secrets
from collections.abc import Callable
from itertools import count

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from ops.emulators.openai.answer import Answer, error_body
from ops.emulators.openai.journal import Entry, Journal
from ops.emulators.openai.line import Disconnected, Gate, Line
from ops.emulators.openai.request import BadRequest, ChatRequest
from ops.emulators.openai.script import Script, Step

JSON = ("content-type", "application/json")
EVENT_STREAM = ("content-type", "text/event-stream; charset=utf-8")


class Completions:
    """``POST /v1/chat/completions`` as an ASGI application, and the same under the two paths of Azure.

    https://learn.microsoft.com/azure/ai-foundry/openai/reference: ``/openai/v1`` as OpenAI has it;
    ``/openai/deployments/{deployment}`` names the model and wants a version. Both take the key in
    ``api-key`` too.

    Parameters:
      script: Gives the script in force.
      journal: Records every request.
      gate: Holds the answers that are to be held.
      key: The API key that is demanded; None: none is.
    """

    def __init__(
        self, *, script: Callable[[], Script], journal: Journal, gate: Gate, key: str | None
    ) -> None:
        self._script = script
        self._journal = journal
        self._gate = gate
        self._key = key
        # Two runs must not give the same id to two tool calls of one conversation.
        self._run, self._numbers = secrets.token_hex(4), count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        entry = self._journal.begin(body, path=_path(request), authorization=bool(_shown(request)))
        outcome = "refused"
        try:
            outcome = await self._converse(entry, request, Line(scope, receive, send))
        except Disconnected:
            outcome = "disconnected"
        finally:
            self._journal.end(entry, outcome)

    async def _converse(self, entry: Entry, http: Request, line: Line) -> str:
        """Answer, and say how it went out."""
        deployment: str | None = http.path_params.get("deployment")
        if self._key is not None and f"Bearer {self._key}" not in _shown(http):
            return await _refuse(entry, line, 401, _unauthorized(http))
        if deployment is not None and not http.query_params.get("api-version"):
            return await _refuse(entry, line, 404, error_body(404, "Resource not found", code="404"))
        try:
            request = ChatRequest.parse(entry.body, deployment=deployment)
        except BadRequest as bad:
            return await _refuse(entry, line, 400, error_body(400, bad.message, param=bad.param))
        choice = self._script().choose(request)
        self._journal.understood(entry, request.last_user_message, choice.number, choice.missing)
        if choice.missing:
            text = f"The script requires what the request lacks: {choice.missing}"
            return await _refuse(entry, line, 422, error_body(422, text, code="missing_fact"))
        if any(http.headers.get(name) != value for name, value in choice.step.require_headers.items()):
            return await _refuse(entry, line, 401, _unauthorized(http))
        answer = Answer(
            id=f"chatcmpl-{self._run}-{next(self._numbers)}",
            step=choice.step,
            request=request,
            filtered=_is_azure(http),
        )
        return await self._play(entry, answer, line)

    async def _play(self, entry: Entry, answer: Answer, line: Line) -> str:
        """Send an answer with the pauses, the cut or the error of its step."""
        step = answer.step
        head, chunks, tail = _parts(answer)
        await self._wait(step, 0, len(chunks), line)
        if step.status != 200 or step.error is not None:
            body = error_body(step.status, step.error)
            return await _refuse(entry, line, step.status, body, step.headers)
        entry.status = step.status
        content_type = EVENT_STREAM if answer.request.stream else JSON
        await line.start(step.status, {**dict([content_type]), **step.headers}.items())
        line.write(head)
        for sent in range(len(chunks) + 1):
            if sent:
                await self._wait(step, sent, len(chunks), line)
            if step.cut_after is not None and sent == min(step.cut_after, len(chunks)):
                await line.cut()
                return "cut"
            if sent < len(chunks):
                if sent and step.delay_ms:
                    await line.pause(step.delay_ms / 1000)
                line.write(chunks[sent])
        line.write(tail)
        await line.end()
        return "answered"

    async def _wait(self, step: Step, sent: int, total: int, line: Line) -> None:
        """Hang or hold, if it is due after so many chunks."""
        if step.hang_seconds and sent == min(step.hang_after, total):
            await line.pause(step.hang_seconds)
        if step.holds(sent, total):
            await self._gate.hold(line)


def _is_azure(request: Request) -> bool:
    return request.url.path.startswith("/openai/")


def _path(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _shown(request: Request) -> set[str]:
    """Give the credentials of a request, each as it would stand in ``Authorization``."""
    shown = set(request.headers.getlist("authorization"))
    if _is_azure(request):
        shown |= {f"Bearer {key}" for key in request.headers.getlist("api-key")}
    return shown


def _unauthorized(request: Request) -> bytes:
    if _is_azure(request):
        text = "Access denied due to invalid subscription key or wrong API endpoint."
        return error_body(401, text, code="401")
    return error_body(401, "Incorrect API key provided.")


def _parts(answer: Answer) -> tuple[bytes, list[bytes], bytes]:
    """Give what is sent: the head, the chunks that a script counts, and the tail."""
    if answer.step.raw is not None:
        return b"", [answer.step.raw.encode()], b""
    if answer.request.stream:
        return answer.head(), answer.chunks(), answer.tail()
    half = len(body := answer.body()) // 2
    return b"", [body[:half], body[half:]], b""


async def _refuse(
    entry: Entry, line: Line, status: int, body: bytes, headers: dict[str, str] | None = None
) -> str:
    entry.status = status
    await line.start(status, {**dict([JSON]), **(headers or {})}.items())
    line.write(body)
    await line.end()
    return "refused"
