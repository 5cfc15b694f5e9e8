"""A platform of scripted answers, for agents that run without ours."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Platform(ThreadingHTTPServer):
    """A platform of scripted answers."""

    daemon_threads = True

    def __init__(self):
        self.requests = []
        self.answers = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        shown = (self.command, self.path, self.headers["authorization"], json.loads(body or "null"))
        self.server.requests.append(shown)
        status, answer = self.server.answers.pop(0)
        if status is None:  # the connection is cut
            self.close_connection = True
            return
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def platform():
    with Platform() as platform:
        thread = threading.Thread(target=platform.serve_forever, args=(0.01,))
        thread.start()
        yield platform
        platform.shutdown()
        thread.join()
