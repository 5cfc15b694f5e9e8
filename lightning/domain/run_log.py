"""What a run printed, as text in documents of a few thousand characters beside the run's own.

The run's document says where the log has got to, and is written in the same batch: what a crash cut off is
read from the container again, and nothing is in the log twice.
"""

import codecs
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, TypedDict

from lightning.storage import Create, Operation, Replace, Storage, Where

#: Characters of one document.
PART_CHARS: Final = 16 * 1024

CONTAINER: Final = "events"


class LogPlace(TypedDict):
    """Where a log has got to.

    ``bytes`` is the offset at which the runner goes on, ``chars`` the length of the text, and ``starts`` the
    offset in characters of each document of it.
    """

    bytes: int
    chars: int
    starts: list[int]


EMPTY: Final[LogPlace] = {"bytes": 0, "chars": 0, "starts": []}


def read(place: LogPlace, data: bytes, upto: int, *, last: bool) -> tuple[str, LogPlace]:
    """Read bytes as text; what is no UTF-8 becomes U+FFFD.

    Parameters:
      place: Where the log has got to.
      data: What the container printed from there on.
      upto: The offset behind it.
      last: Whether a character that is cut off at the end stays so.

    Returns:
      The text, and the place behind the bytes that were read; its text is not counted yet.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=last)
    rest = len(decoder.getstate()[0])
    return text, {**place, "bytes": upto - rest}


async def written(
    storage: Storage, user_id: str, run: str, place: LogPlace, text: str
) -> tuple[list[Operation], LogPlace]:
    """Give the writes that add a text to a log, and the place behind it."""
    writes: list[Operation] = []
    chars, starts = place["chars"], list(place["starts"])
    room = PART_CHARS - (chars - starts[-1]) if starts else 0
    if text and room:
        stored = await storage.get(CONTAINER, user_id, _part(run, len(starts) - 1))
        if stored is not None:
            added, text = text[:room], text[room:]
            writes.append(Replace({**stored.body, "text": stored.body["text"] + added}, stored.etag))
            chars += len(added)
    while text:
        added, text = text[:PART_CHARS], text[PART_CHARS:]
        writes.append(Create(_document(user_id, run, len(starts), added)))
        starts.append(chars)
        chars += len(added)
    return writes, {**place, "chars": chars, "starts": starts}


async def text(storage: Storage, user_id: str, run: str, place: LogPlace, offset: int, limit: int) -> str:
    """Read a part of a log; empty where there is no more."""
    end = min(offset + limit, place["chars"])
    if offset >= end:
        return ""
    starts = place["starts"]
    first, behind = bisect_right(starts, offset) - 1, bisect_right(starts, end - 1)
    parts = await _parts(storage, user_id, [_part(run, number) for number in range(first, behind)])
    found = "".join(parts.get(_part(run, number), "") for number in range(first, behind))
    return found[offset - starts[first] : end - starts[first]]


async def _parts(storage: Storage, user_id: str, ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    page: str | None = None
    while True:
        answer = await storage.query(CONTAINER, user_id, [Where("id", "in", tuple(ids))], page=page)
        found |= {stored.body["id"]: stored.body["text"] for stored in answer.items}
        page = answer.next
        if page is None:
            return found


def _part(run: str, number: int) -> str:
    return f"{run}-log-{number}"


def _document(user_id: str, run: str, number: int, text: str) -> dict[str, Any]:
    return {"id": _part(run, number), "userID": user_id, "kind": "run.log", "state": "done", "text": text}
