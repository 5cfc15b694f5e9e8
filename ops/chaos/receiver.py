"""The server that webhooks of a storm are posted to: it outlives what is killed, and remembers every post."""

from collections.abc import Generator
from contextlib import contextmanager

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ops.emulators.loopback import serving


class Receiver:
    """What came, and where to post."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[tuple[str, str]] = []  #: the ``webhook-id`` of each, and the content of its message

    async def receive(self, request: Request) -> Response:
        """Remember a post."""
        try:
            message = orjson.loads(await request.body())
        except ClientDisconnect:  # the worker was killed while it posted
            return Response(status_code=400)
        self.posts.append((request.headers["webhook-id"], message["data"]["metadata"]["content"]))
        return Response(status_code=204)


@contextmanager
def receiving() -> Generator[Receiver]:
    """Receive while the context lasts."""
    receiver = Receiver()
    app = Starlette(routes=[Route("/", receiver.receive, methods=["POST"])])
    with serving(app, "webhook receiver") as port:
        receiver.url = f"http://127.0.0.1:{port}/"
        yield receiver
