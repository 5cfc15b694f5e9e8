"""Walks through all documents of a store by their keys, so that a walk can go on where another one ended."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from lightning.errors import StoreMisconfigured, StoreTooNew, Transient
from lightning.storage.paging import page_token
from lightning.storage.port import Page, Storage, Stored
from lightning.storage.rules import MAX_PAGE

#: A store that refuses for the moment is asked again for about so long, in seconds.
PATIENCE_SECONDS: Final = 60.0

#: Users whose first documents are read at once.
TOGETHER: Final = 8

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Ask a store, again while it refuses for the moment: a long piece of work is worth some waiting.

    Parameters:
      ask: Asks; a write must bear being repeated.
      patience_seconds: From the first refusal on.

    Raises:
      Transient: It still refuses, or will until an operator mends it.
    """
    waited = 0.0
    while True:
        try:
            return await ask()
        except (StoreMisconfigured, StoreTooNew):
            raise
        except Transient as refusal:
            wait = refusal.retry_after or 1.0
            if waited + wait > patience_seconds:
                raise
            waited += wait
            await asyncio.sleep(wait)


async def partitions(storage: Storage, container: str, after: str = "") -> AsyncGenerator[list[str]]:
    """List all users who have documents in a container, some at a time."""
    while users := await _users(storage, container, after):
        yield users
        after = users[-1]


async def _users(storage: Storage, container: str, after: str) -> list[str]:
    return await patiently(lambda: storage.partitions(container, after=after))


async def documents(
    storage: Storage, container: str, user_id: str, after: str | None = None
) -> AsyncGenerator[list[Stored]]:
    """Read all documents of a user in a container by id, a page at a time.

    Parameters:
      storage: The store.
      container: The container.
      user_id: The user.
      after: Only ids behind this one.
    """
    page = await first_page(storage, container, user_id, after)
    while True:
        yield page.items
        if page.next is None:
            return
        page = await _page(storage, container, user_id, page.next)


async def first_page(storage: Storage, container: str, user_id: str, after: str | None = None) -> Page:
    """Read the first documents of a user as they are now, whatever replica answers."""
    # a batch is decided where the newest is known, and hands over the session token of that place
    await patiently(lambda: storage.batch_on(container, user_id, "none", lambda _: ()))
    token = None if after is None else page_token({"id": after, "userID": user_id}, "id")
    return await _page(storage, container, user_id, token)


async def _page(storage: Storage, container: str, user_id: str, token: str | None) -> Page:
    return await patiently(lambda: storage.query(container, user_id, limit=MAX_PAGE, page=token))


async def everything(
    storage: Storage, container: str, after: tuple[str, str] | None = None
) -> AsyncGenerator[Sequence[Stored]]:
    """Read all documents of a container by user and id, a page at a time, each of one user.

    Parameters:
      storage: The store.
      container: The container.
      after: User and id behind which to begin.
    """
    if after is not None:
        async for items in documents(storage, container, *after):
            yield items
    async for users in partitions(storage, container, "" if after is None else after[0]):
        for start in range(0, len(users), TOGETHER):
            some = users[start : start + TOGETHER]
            pages = await asyncio.gather(*(first_page(storage, container, user) for user in some))
            for user, page in zip(some, pages, strict=True):
                yield page.items
                if page.next is not None:
                    async for items in documents(storage, container, user, page.items[-1].body["id"]):
                        yield items
