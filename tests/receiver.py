"""A server on loopback that receives webhooks, well or badly: the first part of the path says how."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Post:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self):
        return json.loads(self.body)


class Receiver:
    """Remembers what came; a path may be told what to answer next."""

    def __init__(self, port: int, scheme: str):
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.posts: list[Post] = []
        self.stopped = threading.Event()
        self._next: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.most_open: dict[str, int] = {}
        self._open: dict[str, int] = {}
        self._lock = threading.Lock()

    def to(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path == path]

    def will_answer(self, path: str, *answers: int | tuple[int, dict[str, str]]) -> None:
        """Answer so, one after another, then with 204 again."""
        self._next[path] = [(each, {}) if isinstance(each, int) else each for each in answers]

    def answer_to(self, path: str) -> tuple[int, dict[str, str]]:
        with self._lock:
            answers = self._next.get(path)
            return answers.pop(0) if answers else (204, {})

    @property
    def open(self) -> int:
        """How many requests are not answered yet, whether or not somebody still waits for that."""
        with self._lock:
            return sum(self._open.values())

    @contextmanager
    def serving(self, path: str) -> Iterator[None]:
        with self._lock:
            self._open[path] = self._open.get(path, 0) + 1
            self.most_open[path] = max(self.most_open.get(path, 0), self._open[path])
        try:
            yield
        finally:
            with self._lock:
                self._open[path] -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    receiver: Receiver
    tls: ssl.SSLContext | None = None

    def get_request(self):
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        """Say nothing: receivers are cut off on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        # whatever follows a redirect is seen here
        self.server.receiver.posts.append(Post(f"GET {self.path}", {}, b""))
        self.answer(200)

    def do_POST(self):
        body = self.body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver = self.server.receiver
        receiver.posts.append(Post(self.path, headers, body))
        behaviour = self.path.strip("/").partition("/")[0].partition("?")[0]
        self.close_connection = True
        with receiver.serving(self.path), suppress(OSError):
            getattr(self, behaviour)()

    def answer(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ok(self):
        status, headers = self.server.receiver.answer_to(self.path)
        self.answer(status, headers, b"" if status == 204 else b"as you say")

    def parrot(self):
        # the end of it, since only the beginning of an answer is kept
        self.answer(200, {}, self.body[self.body.index(b'"metadata"') :])

    def first_hangs(self):
        receiver = self.server.receiver
        if len(receiver.to(self.path)) == 1:
            receiver.stopped.wait(60)
        self.ok()

    def hang(self):
        self.server.receiver.stopped.wait(60)

    def trickle(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"x-slow: yes\r\n")

    def trickle_body(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.drip(b"drip ")

    def drip(self, drop):
        while not self.server.receiver.stopped.wait(0.05):
            self.wfile.write(drop)

    def redirect(self):
        self.answer(307, {"location": f"{self.server.receiver.url}/ok/redirected"})

    def gone(self):
        self.answer(410)

    def endless(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not self.server.receiver.stopped.is_set():
            self.wfile.write(b"and so on " * 1000)

    def broken(self):
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def silent(self):
        """Close without a word."""


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver for as long as the block lasts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.tls = tls
    server.receiver = receiver = Receiver(server.server_address[1], "https" if tls else "http")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
