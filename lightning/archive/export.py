"""Writes all documents of a store into an archive, goes on where it was killed, and compares at the end."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from lightning.archive.files import Archive, Part
from lightning.archive.shapes import Header, Trailer
from lightning.archive.source import Place, Report, is_empty, pages
from lightning.errors import Conflict, NotFound
from lightning.events import now_text
from lightning.storage import CONTAINERS, Body, Storage

#: A part is written when it has as many bytes: so much is read again after a kill, at most.
PART_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Parameters:
      documents: How many of each container.
      parts: Files of them.
      resumed: Whether it went on with one that was not finished.
    """

    documents: dict[str, int]
    parts: int
    resumed: bool


async def export(
    storage: Storage, folder: Path, *, store: str, report: Report, part_bytes: int = PART_BYTES
) -> Exported:
    """Write an archive, or what is missing of it.

    Parameters:
      storage: What is exported; nobody may write to it meanwhile.
      folder: The directory.
      store: What the store is called, for people.
      report: Told of what is done.
      part_bytes: Size of a part.

    Raises:
      NotFound: There is nothing to export.
      Conflict: The directory holds something else (``not_empty``, ``archive_busy``), a complete archive
        (``already_exported``), or the store changed meanwhile (``moved``).
      Permanent: What is there of the archive is damaged.
      Transient: The store does not answer; the same command goes on later.
    """
    archive = Archive(folder)
    if await is_empty(storage):
        raise NotFound("the store is empty; name the one you mean by its settings, or with --data")
    with archive.alone():
        resumed = await asyncio.to_thread(_begun, archive, store)
        last = await asyncio.to_thread(archive.last_part)
        await _Writer(archive, last, part_bytes, report).write(storage)
        trailer = await _compared(storage, archive, report)
        await asyncio.to_thread(archive.write_trailer, trailer)
    return Exported(trailer.documents, trailer.parts, resumed)


def _begun(archive: Archive, store: str) -> bool:
    """Begin an archive, or find one that is not finished; tell whether there was one."""
    try:
        header = archive.header()
    except NotFound:
        archive.write_header(Header(createdAt=now_text(), store=store, containers=list(CONTAINERS)))
        return False
    if archive.trailer() is not None:
        message = f"{archive.folder} holds a complete export of {header.createdAt}; name another directory"
        raise Conflict(message, code="already_exported")
    if header.store != store:
        message = f"{archive.folder} holds a part of {header.store}, not of {store}; name another directory"
        raise Conflict(message, code="not_empty")
    return True


class _Writer:
    """Writes part by part, each durable before the next one is begun.

    Parameters:
      archive: The archive.
      last: The part behind which to begin.
      part_bytes: Size of a part.
      report: Told of what is done.
    """

    def __init__(self, archive: Archive, last: Part | None, part_bytes: int, report: Report) -> None:
        self._archive = archive
        self._after = None if last is None else Place(last.container, *last.last())
        self._number = 0 if last is None else last.number
        self._part_bytes = part_bytes
        self._report = report
        self._container = ""
        self._lines: list[bytes] = []
        self._size = 0

    async def write(self, storage: Storage) -> None:
        """Write all that is missing."""
        async for container, bodies in pages(storage, self._after):
            if container != self._container:
                await self._flush()
                self._container = container
            for line in map(line_of, bodies):
                self._lines.append(line)
                self._size += len(line)
                if self._size >= self._part_bytes:
                    await self._flush()
        await self._flush()

    async def _flush(self) -> None:
        if self._lines:
            self._number += 1
            await asyncio.to_thread(self._archive.write_part, self._number, self._container, self._lines)
            self._report("export", len(self._lines))
        self._lines, self._size = [], 0


async def _compared(storage: Storage, archive: Archive, report: Report) -> Trailer:
    """Read the store once more, against the archive: whatever was written meanwhile shows.

    Raises:
      Conflict: They differ (``moved``).
    """
    parts = archive.parts()
    part: Part | None = None
    expected: Sequence[bytes] = ()
    counts: Counter[str] = Counter()
    digest = hashlib.sha256(archive.header().model_dump_json().encode())
    async for container, bodies in pages(storage):
        lines = [line_of(body) for body in bodies]
        while lines:
            if not expected:
                part = await asyncio.to_thread(next, parts, None)
                if part is None:
                    raise _moved(archive, container, bodies[0])
                expected = part.lines
                digest.update(part.end)
            size = min(len(lines), len(expected))
            if part is None or part.container != container or lines[:size] != expected[:size]:
                raise _moved(archive, container, bodies[0])
            lines, expected = lines[size:], expected[size:]
        counts[container] += len(bodies)
        report("verify", len(bodies))
    if expected or await asyncio.to_thread(next, parts, None) is not None:
        raise _moved(archive, "", {})
    return Trailer(
        completedAt=now_text(),
        parts=0 if part is None else part.number,
        documents={name: counts[name] for name in CONTAINERS},
        sha256=digest.hexdigest(),
    )


def line_of(body: Body) -> bytes:
    """Write a document as a line, the same whatever order its fields were read in."""
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _moved(archive: Archive, container: str, body: Body) -> Conflict:
    where = f" ({container}, user {body['userID']})" if body else ""
    message = (
        f"the deployment changed while it was exported{where};"
        f" stop the platform, remove {archive.folder} and export again"
    )
    return Conflict(message, code="moved")
