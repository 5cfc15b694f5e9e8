"""What of a store belongs into an archive: every document, but the note of an import."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from lightning.archive.marker import PARTITION
from lightning.storage import CONTAINERS, Body, Storage
from lightning.storage.walk import everything

#: Told of what is done: the name of the stage, and how many documents more.
Report = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A document's place in the order of an archive: behind it the next one begins."""

    container: str
    user_id: str
    id: str


async def pages(storage: Storage, after: Place | None = None) -> AsyncGenerator[tuple[str, Sequence[Body]]]:
    """Read what belongs into an archive, container by container, by user and id.

    Parameters:
      storage: The store.
      after: The place behind which to begin.

    Returns:
      The container of a page, and its documents, which are of one user.
    """
    names = list(CONTAINERS)
    for container in names if after is None else names[names.index(after.container) :]:
        begin = (after.user_id, after.id) if after is not None and after.container == container else None
        async for page in everything(storage, container, begin):
            bodies = [stored.body for stored in page if stored.body["userID"] != PARTITION]
            if bodies:
                yield container, bodies


async def is_empty(storage: Storage) -> bool:
    """Tell whether a store has nothing that belongs into an archive."""
    for container in CONTAINERS:
        if set(await storage.partitions(container, limit=2)) - {PARTITION}:
            return False
    return True
