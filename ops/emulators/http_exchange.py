"""What the emulators that speak HTTP share of an exchange: reading a body, giving no answer."""

from collections.abc import Callable
from typing import cast

from starlette.types import Receive, Scope

from ops.emulators.loopback import HANG_UP


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a request's body.

    Parameters:
      receive: Of the request.
      limit: Bytes; of a larger one no more is kept than shows it.

    Returns:
      The body; None: the client left.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= limit:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def hang_up(scope: Scope) -> None:
    """Cut the connection of a request, without an answer."""
    cast("Callable[[], None]", scope["extensions"][HANG_UP]["close"])()
