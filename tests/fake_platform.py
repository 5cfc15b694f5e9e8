"""A platform on loopback that misbehaves as it is told to, and answers chats by a script.

It speaks the wire of the clients and records nothing beyond its life. Tests of what the real platform
promises use the real one; this one is for lost answers, cut streams and what a model does in between.
"""

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PATIENCE_SECONDS = 20.0


@dataclass
class Fault:
    """Meets the next requests of a path: refuses them, or loses the answer after the work is done."""

    method: str
    path: str
    status: int | None = None  #: None: the connection is cut instead of an answer
    code: str = "busy"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


class FakePlatform:
    """One user's log; `script` gives the actions by which a chat is answered.

    Actions: ``("delta", attempt, offset, text)``, ``("hold",)`` until cancelled or released,
    ``("cut",)`` every stream, ``("streams", n)`` waits for the n-th stream, ``("answer", text)``.
    """

    def __init__(self) -> None:
        self.url = ""
        self.script: Callable[[str], list[tuple]] = lambda said: [("answer", f"You said: {said}")]
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []  #: method and path, as they came
        self.bodies: list[dict] = []  #: of posts
        self.events: list[dict] = []
        self.access = {"token-0"}  #: access tokens that are good
        self.refresh = "refresh-0"  #: the one refresh token that is good; "" gives none
        self.expires_in = 3600
        self.delays: dict[str, float] = {}  #: seconds until a request to a path is looked at
        self.lateness: dict[str, float] = {}  #: seconds until an answer leaves
        self.released = threading.Event()
        self.streams_opened = 0
        self._keys: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._streams: list[asyncio.Queue] = []
        self._tasks: set[asyncio.Task] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    # what tests do

    def count(self, method: str, path: str) -> int:
        return self.requests.count((method, path))

    def record(self, type: str, metadata: dict, cause: str | None = None) -> dict:
        """Append an event and show it to the streams; call it on the server's loop or before it runs."""
        number = len(self.events) + 1
        event = {
            "id": f"event-{number}", "seq": number, "type": type, "source": "fake", "userID": "ada",
            "timestamp": "2026-01-31T12:00:00Z", "recordedAt": "2026-01-31T12:00:00Z",
            "metadata": metadata, "root": cause or f"event-{number}", "cause": cause,
            "state": "accepted", "attempts": 1, "outputs": [], "error": None,
        }  # fmt: skip
        self.events.append(event)
        self.publish(frame(event))
        return event

    def do(self, *actions: Callable[[], object]) -> None:
        """Do something on the server's loop, and wait until it is done."""
        done = threading.Event()
        assert self._loop is not None, "nobody has asked anything yet"
        for action in (*actions, done.set):
            self._loop.call_soon_threadsafe(action)
        assert done.wait(PATIENCE_SECONDS)

    def cut(self) -> None:
        """Cut every stream."""
        self.do(lambda: self.publish(None))

    def publish(self, text: str | None) -> None:
        """Send a frame down every stream; None cuts them. To be called on the server's loop."""
        for queue in self._streams:
            queue.put_nowait(text)
        if text is None:
            self._streams.clear()

    # what answers

    def app(self) -> Starlette:
        routes = [
            Route("/api/token", self.token, methods=["POST"]),
            Route("/api/token/refresh", self.renew, methods=["POST"]),
            Route("/api/me", self.me),
            Route("/api/events", self.post, methods=["POST"]),
            Route("/api/events", self.list_events),
            Route("/api/events/{id}", self.get),
            Route("/api/events/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/stream", self.stream),
        ]
        return Starlette(routes=[Route(r.path, self._met(r.endpoint), methods=r.methods) for r in routes])

    def _met(self, endpoint):
        async def answer(request: Request) -> Response:
            self._loop = asyncio.get_running_loop()
            method, path = request.method, request.url.path
            self.requests.append((method, path))
            fault = next((f for f in self.faults if (f.method, f.path) == (method, path)), None)
            if fault is not None:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                if fault.status is not None:
                    return problem(fault.status, fault.code, fault.headers)
                await endpoint(request)
                return Cut()
            open_to_all = ("/api/token", "/api/token/refresh")
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            if path not in open_to_all and bearer not in self.access:
                return problem(401, "invalid_token")
            await asyncio.sleep(self.delays.get(path, 0))
            response = await endpoint(request)
            await asyncio.sleep(self.lateness.get(path, 0))
            return response

        return answer

    async def token(self, _request: Request) -> Response:
        return self._issue()

    async def renew(self, request: Request) -> Response:
        given = (await request.json())["refresh_token"]
        if not self.refresh or given != self.refresh:
            return problem(401, "invalid_refresh_token")
        return self._issue()

    def _issue(self) -> Response:
        number = next(self._numbers)
        self.access.add(f"token-{number}")
        answer = {
            "access_token": f"token-{number}", "token_type": "Bearer",
            "expires_in": self.expires_in, "userID": "ada",
        }  # fmt: skip
        if self.refresh:
            self.refresh = f"refresh-{number}"
            answer |= {"refresh_token": self.refresh, "refresh_expires_in": 86400}
        return JSONResponse(answer)

    async def me(self, _request: Request) -> Response:
        return JSONResponse({"userID": "ada", "role": "user"})

    async def post(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        key = request.headers["idempotency-key"]
        if key in self._keys:
            return JSONResponse(self._find(self._keys[key]), 202)
        metadata = {"conversationID": f"conversation-{len(self.events)}", **body["metadata"]}
        event = self.record(body["type"], metadata)
        self._keys[key] = event["id"]
        if body["type"] == "llm.chat":
            task = asyncio.create_task(self._answer(event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return JSONResponse(event, 202)

    async def _answer(self, event: dict) -> None:
        for action, *rest in self.script(event["metadata"]["content"]):
            if event["state"] == "cancelled":
                return
            if action == "delta":
                attempt, offset, text = rest
                self.publish(delta_frame(event, attempt, offset, text))
            elif action == "cut":
                self.publish(None)
            elif action == "streams":
                await until(lambda n=rest[0]: self.streams_opened >= n)
            elif action == "hold":
                await until(lambda: self.released.is_set() or event["state"] == "cancelled")
            elif action == "answer":
                self._respond(event, rest[0])

    def _respond(self, event: dict, content: str) -> None:
        metadata = {
            "content": content, "conversationID": event["metadata"]["conversationID"],
            "model": "scripted", "finishReason": "stop",
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }  # fmt: skip
        response = self.record("llm.chat.response", metadata, event["id"])
        event.update(state="done", outputs=[response["id"]])

    async def list_events(self, request: Request) -> Response:
        after, limit = (int(request.query_params.get(name, 50)) for name in ("after", "limit"))
        page = [event for event in self.events if event["seq"] > after][:limit]
        return JSONResponse({"events": page, "next": None})

    async def get(self, request: Request) -> Response:
        event = self._find(request.path_params["id"])
        if event is None:
            return problem(404, "not_found")
        if wait := int(request.query_params.get("wait", 0)):
            await until(lambda: event["state"] != "accepted", wait)
        outputs = [self._find(output) for output in event["outputs"]]
        return JSONResponse({**event, "outputs": outputs})

    async def cancel(self, request: Request) -> Response:
        event = self._find(request.path_params["id"])
        if event is None:
            return problem(404, "not_found")
        if event["state"] != "accepted":
            return problem(409, "already_over")
        event["state"] = "cancelled"
        return JSONResponse(event)

    async def stream(self, request: Request) -> Response:
        after = int(request.headers.get("last-event-id") or request.query_params.get("after", 0))
        queue: asyncio.Queue = asyncio.Queue()
        for event in self.events:
            if event["seq"] > after:
                queue.put_nowait(frame(event))
        self._streams.append(queue)
        self.streams_opened += 1

        async def body():
            yield ": here\r\n\r\n"
            while (text := await queue.get()) is not None:
                if not text.startswith("id:") or int(text.split()[1]) > after:
                    yield text
            raise ConnectionError("cut as the script says")

        return StreamingResponse(body(), media_type="text/event-stream")

    def _find(self, id: str) -> dict | None:
        return next((event for event in self.events if event["id"] == id), None)


class Cut(Response):
    """An answer that breaks off: the client cannot know what became of its request."""

    async def __call__(self, scope, receive, send) -> None:
        headers = [(b"content-length", b"100"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionError("cut as the test says")


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": f"urn:lightning:problem:{code}", "title": "", "status": status, "code": code}
    return JSONResponse(body | {"detail": f"refused: {code}"}, status, headers)


def frame(event: dict) -> str:
    return f"id: {event['seq']}\r\nevent: {event['type']}\r\ndata: {json.dumps(event)}\r\n\r\n"


def delta_frame(event: dict, attempt: int, offset: int, text: str) -> str:
    data = {
        "event": event["id"], "conversationID": event["metadata"]["conversationID"],
        "attempt": attempt, "offset": offset, "text": text,
    }  # fmt: skip
    return f"event: delta\r\ndata: {json.dumps(data)}\r\n\r\n"


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 -- no event of ours
        await asyncio.sleep(0.005)


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.decided = threading.Event()

    async def startup(self, sockets=None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.decided.set()


class Stage:
    """Where one platform after another is played, so that tests share a server."""

    def __init__(self) -> None:
        self.url = ""
        self._platform = FakePlatform()
        self._app = self._platform.app()

    async def __call__(self, scope, receive, send) -> None:
        await self._app(scope, receive, send)

    @contextmanager
    def play(self) -> Iterator[FakePlatform]:
        self._platform = FakePlatform()
        self._platform.url = self.url
        self._app = self._platform.app()
        yield self._platform
        self._platform.released.set()


@contextmanager
def stage() -> Iterator[Stage]:
    """Run a stage in a thread for as long as the block lasts."""
    made = Stage()
    with _listening(made, 0) as url:
        made.url = url
        yield made


@contextmanager
def serving(platform: FakePlatform, port: int = 0) -> Iterator[FakePlatform]:
    """Run a platform of its own in a thread for as long as the block lasts."""
    with _listening(platform.app(), port) as url:
        platform.url = url
        yield platform
        platform.released.set()


@contextmanager
def _listening(app, port: int) -> Iterator[str]:
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", timeout_graceful_shutdown=0, access_log=False
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            assert server.decided.wait(PATIENCE_SECONDS)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the fake platform does not stop"
