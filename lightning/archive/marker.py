"""The document in a store that says that an import is under way there, of which archive, and how far."""

from dataclasses import dataclass
from typing import Final

from lightning.errors import Conflict, PreconditionFailed
from lightning.storage import Create, Delete, Replace, Storage, Stored
from lightning.storage.walk import patiently

CONTAINER: Final = "users"

#: A partition of its own, which no account can have: theirs are UUIDs.
PARTITION: Final = "lightning-import"

_DOCUMENT: Final = "import"


@dataclass(frozen=True, slots=True)
class Marker:
    """How far an import has come.

    Parameters:
      archive: The checksum of the archive.
      parts: Parts that were written, the first ones.
    """

    archive: str
    parts: int


async def unfinished(storage: Storage) -> Marker | None:
    """Read how far the import has come that is under way in a store; None when there is none."""
    stored = await _stored(storage)
    return None if stored is None else Marker(stored.body["archive"], stored.body["parts"])


async def begin(storage: Storage, archive: str) -> None:
    """Note that an import begins.

    Raises:
      Conflict: One was begun meanwhile (``import_busy``).
    """
    try:
        await storage.batch(CONTAINER, PARTITION, [Create(_body(archive, 0))])
    except Conflict:
        raise Conflict("another import was begun just now; wait for it", code="import_busy") from None


async def advance(storage: Storage, archive: str, parts: int) -> None:
    """Note that the first parts are written, each of them durably.

    Raises:
      Conflict: Somebody else imports, too (``import_busy``).
    """

    async def write() -> None:
        stored = await _stored(storage)
        if stored is None:
            raise PreconditionFailed("the note is gone")
        if stored.body["parts"] < parts:
            await storage.batch(CONTAINER, PARTITION, [Replace(_body(archive, parts), stored.etag)])

    try:
        await patiently(write)
    except PreconditionFailed:
        message = (
            "another import into this store is under way; wait for it, then run `lightning storage check`"
        )
        raise Conflict(message, code="import_busy") from None


async def finish(storage: Storage) -> None:
    """Remove the note: what was imported is whole."""

    async def remove() -> None:
        if await _stored(storage) is not None:
            await storage.batch(CONTAINER, PARTITION, [Delete(_DOCUMENT)])

    await patiently(remove)


async def _stored(storage: Storage) -> Stored | None:
    return await patiently(lambda: storage.get(CONTAINER, PARTITION, _DOCUMENT))


def _body(archive: str, parts: int) -> dict[str, object]:
    return {"id": _DOCUMENT, "userID": PARTITION, "kind": "import", "archive": archive, "parts": parts}
