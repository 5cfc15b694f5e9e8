"""The events that a load posts."""

from datetime import UTC, datetime

import orjson

from ops.bench.connection import request

#: What every event says.
CONTENT = "The quick brown fox jumps over the lazy dog"


class BenchError(Exception):
    """The platform did not do what is measured."""


def post(kind: str, user: str, token: str) -> bytes:
    """Write down the request that posts an event of a kind."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "source": "lightning.bench",
        "type": kind,
        "userID": user,
        "metadata": {"content": CONTENT},
    }
    return request("POST", "/api/events", token, orjson.dumps(event))


def event_id(status: int, body: bytes) -> str:
    """Read the id of an event from the answer to its post.

    Raises:
      BenchError: It was not accepted.
    """
    if status != 202:
        raise BenchError(f"an event was not accepted: {status} {body[:200]!r}")
    return orjson.loads(body)["id"]
