"""Reads an archive into an empty store, goes on where it was killed, and compares at the end."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from lightning.archive import marker
from lightning.archive.digest import Digest, same
from lightning.archive.files import Archive, Part
from lightning.archive.shapes import Trailer
from lightning.archive.source import Report, is_empty, pages
from lightning.errors import Conflict, Permanent
from lightning.storage import CONTAINERS, Body, Create, Storage
from lightning.storage.rules import MAX_BATCH_BYTES, MAX_OPERATIONS
from lightning.storage.walk import patiently

#: Batches that are written at a time.
TOGETHER: Final = 16

#: Documents of each user of each container.
_Digests = dict[tuple[str, str], Digest]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an import wrote.

    Parameters:
      documents: How many of each container.
      resumed: Whether it went on with one that was not finished.
    """

    documents: dict[str, int]
    resumed: bool


async def load(storage: Storage, folder: Path, *, report: Report) -> Loaded:
    """Write an archive into a store, or what is missing of it there.

    Nothing is written before the whole archive was read and found in order.

    Parameters:
      storage: The target.
      folder: The directory of the archive.
      report: Told of what is done.

    Raises:
      NotFound: There is no archive.
      Permanent: It is damaged, of a newer version, or not complete.
      Conflict: The target has other documents (``not_empty``), or was written to meanwhile (``moved``).
      Transient: The target does not answer; the same command goes on later.
    """
    archive = Archive(folder)
    trailer, digests = await asyncio.to_thread(_read_through, archive, report)
    done = await marker.unfinished(storage)
    if done is not None and done.archive != trailer.sha256:
        message = "an import of another archive is not finished here; finish it, or empty the store"
        raise Conflict(message, code="not_empty")
    if done is None:
        if not await is_empty(storage):
            message = "the store is not empty; import into a new one: another directory or database"
            raise Conflict(message, code="not_empty")
        await marker.begin(storage, trailer.sha256)
    for number in range(1 if done is None else done.parts + 1, trailer.parts + 1):
        part = await asyncio.to_thread(archive.part, number)
        if part is None:
            raise _incomplete(archive)
        await _write(storage, part)
        await marker.advance(storage, trailer.sha256, number)
        report("import", len(part.lines))
    await _compare(storage, digests, report)
    await marker.finish(storage)
    return Loaded(trailer.documents, done is not None)


def _read_through(archive: Archive, report: Report) -> tuple[Trailer, _Digests]:
    """Read the whole archive, and tell what the target must hold in the end.

    Raises:
      NotFound: There is none.
      Permanent: Something of it is not as it was written.
    """
    header = archive.header()
    trailer = archive.trailer()
    if trailer is None:
        message = (
            f"the export in {archive.folder} is not complete; run `lightning storage export` again there"
        )
        raise Permanent(message, code="archive_incomplete")
    checksum = hashlib.sha256(header.model_dump_json().encode())
    counts: Counter[str] = Counter()
    digests: _Digests = {}
    parts = 0
    for part in archive.parts():
        parts += 1
        checksum.update(part.end)
        counts[part.container] += len(part.lines)
        for body in part.bodies():
            digests.setdefault((part.container, body["userID"]), Digest()).add([body])
        report("read", len(part.lines))
    found = {name: counts[name] for name in CONTAINERS}
    if (parts, found, checksum.hexdigest()) != (trailer.parts, trailer.documents, trailer.sha256):
        raise _incomplete(archive)
    return trailer, digests


async def _write(storage: Storage, part: Part) -> None:
    """Create the documents of a part, several batches at a time."""
    waiting: list[list[Body]] = []
    for batch in _batches(part):
        waiting.append(batch)
        if len(waiting) == TOGETHER:
            await asyncio.gather(*(_create(storage, part.container, each) for each in waiting))
            waiting = []
    await asyncio.gather(*(_create(storage, part.container, each) for each in waiting))


def _batches(part: Part) -> Iterator[list[Body]]:
    """Cut a part into what one batch takes: documents of one user, not too many and not too large."""
    sized = zip(part.bodies(), map(len, part.lines), strict=True)
    for _, group in groupby(sized, key=lambda pair: pair[0]["userID"]):
        batch: list[Body] = []
        size = 0
        for body, length in group:
            if batch and (len(batch) == MAX_OPERATIONS or size + length > MAX_BATCH_BYTES // 2):
                yield batch
                batch, size = [], 0
            batch.append(body)
            size += length
        yield batch


async def _create(storage: Storage, container: str, bodies: Sequence[Body]) -> None:
    """Write documents that are not there yet; those of a run that was killed may be."""
    user_id = bodies[0]["userID"]
    operations = [Create(body) for body in bodies]
    try:
        await patiently(lambda: storage.batch(container, user_id, operations))
    except ValueError as error:
        message = f"no store takes a document of user {user_id} in {container}: {error}; export again"
        raise Permanent(message, code="archive_broken") from None
    except Conflict:
        missing = [body for body in bodies if not await _is_there(storage, container, body)]
        if missing:
            await _create(storage, container, missing)


async def _is_there(storage: Storage, container: str, body: Body) -> bool:
    """Tell whether a document is written already.

    Raises:
      Conflict: Another one of its name is (``moved``).
    """
    found = await patiently(lambda: storage.get(container, body["userID"], body["id"]))
    if found is not None and not same(found.body, body):
        raise _moved(container, body["userID"])
    return found is not None


async def _compare(storage: Storage, digests: _Digests, report: Report) -> None:
    """Read the target once more: it must hold the archive and nothing else.

    Raises:
      Conflict: Somebody else wrote to it (``moved``).
    """
    found: _Digests = {}
    async for container, bodies in pages(storage):
        found.setdefault((container, bodies[0]["userID"]), Digest()).add(bodies)
        report("verify", len(bodies))
    if found != digests:
        differing = [key for key in {**digests, **found} if digests.get(key) != found.get(key)]
        raise _moved(*differing[0])


def _incomplete(archive: Archive) -> Permanent:
    message = (
        f"parts of {archive.folder} are missing or of another export; take it from a backup, or export again"
    )
    return Permanent(message, code="archive_broken")


def _moved(container: str, user_id: str) -> Conflict:
    message = (
        f"what stands in {container} of user {user_id} is not what the export says: somebody else wrote it;"
        " stop the platform, and import into a new directory or database"
    )
    return Conflict(message, code="moved")
