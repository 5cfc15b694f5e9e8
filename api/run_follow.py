"""The log of a run as server-sent events, from any offset on until it is complete."""

import time
from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson
import structlog

from api.follow import HEARTBEAT_SECONDS
from api.platform import Platform
from api.stream import HEARTBEAT
from api.streams import Stream
from lightning.domain.runs import RunDocument
from lightning.errors import Transient

#: Between two looks at a log of which there is no more yet; a worker takes it over about once a second.
LOOK_SECONDS: Final = 0.25

#: Characters of one frame.
PORTION_CHARS: Final = 16 * 1024

#: The last lines of a run whose task was ended from outside come so much later at most.
COLLECT_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


async def follow_log(parts: Platform, run: RunDocument, offset: int, stream: Stream) -> AsyncGenerator[bytes]:
    """Give the frames: ``log`` for each portion, and ``end`` when nothing comes behind it any more.

    Parameters:
      parts: The platform.
      run: The run as it was read.
      offset: Characters to leave out.
      stream: Whose stream.
    """
    told, over_since = time.monotonic(), None
    while not (stream.expired or stream.left or parts.stopping):
        try:
            run = await parts.runs.find(run["userID"], run["id"]) or run
            text = await parts.runs.log(run, offset, PORTION_CHARS)
            if not text and over_since is None and await _is_over(parts, run):
                over_since = time.monotonic()
        except Transient as error:
            _log.warning("stream_waits", error=error.code)
            text = ""
        if text:
            yield _frame("log", text, offset)
            offset, told = offset + len(text), time.monotonic()
            continue
        settled = run["outcome"] is not None or run["state"] == "done"
        if over_since is not None and (settled or time.monotonic() - over_since > COLLECT_SECONDS):
            yield _frame("end", "", offset)
            return
        stream.mailbox.take_grown()
        await stream.mailbox.wait(LOOK_SECONDS)
        if time.monotonic() - told > HEARTBEAT_SECONDS:
            yield HEARTBEAT
            told = time.monotonic()


async def _is_over(parts: Platform, run: RunDocument) -> bool:
    """Tell whether a run is over, or its task, which nobody may have come to write down yet."""
    if run["outcome"] is not None:
        return True
    task = await parts.log.get(run["userID"], run["eventID"])
    return task is not None and task["state"] != "accepted" and task["error"] is not None


def _frame(kind: str, text: str, offset: int) -> bytes:
    behind = offset + len(text)
    data: dict[str, Any] = {"text": text, "offset": offset, "next": behind, "complete": kind == "end"}
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (behind, kind.encode(), orjson.dumps(data))
