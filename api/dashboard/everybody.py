"""What all users together have, for operators."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from starlette.requests import Request

from api.dashboard.access import View
from api.dashboard.pages_of import page_token, pages_end
from api.dashboard.recent import FAILURES, LATEST, Recent, recent_of
from api.platform import Platform
from lightning.domain.accounts import Account, Accounts
from lightning.errors import LightningError
from lightning.log import EventLog

T = TypeVar("T")

#: So many accounts are shown on a page, and counted together.
MAX_ACCOUNTS: Final = 100

#: So many names are kept in mind.
_MOST_NAMES: Final = 10_000

#: Asking the store about everybody is repeated after so long at the earliest, however many operators look.
_FRESH_SECONDS: Final = 0.25

#: So is asking the queue, which may be paid for by the messages that are counted.
_QUEUE_FRESH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Holding:
    """An account, and how many of its events are in each state."""

    account: Account
    counts: dict[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The events of all users; ``more`` says that there are further users than were counted."""

    users: int
    counts: dict[str, int]
    more: bool


@dataclass(frozen=True, slots=True)
class QueueStanding:
    """The messages of the queue, and for how long the oldest of them has been waiting."""

    messages: int
    oldest_seconds: int | None


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """What the accounts of a page have.

    Parameters:
      listed: Each, behind the id of whose it is.
      names: The names of the accounts that have something.
      next: The token of the next page of accounts.
    """

    listed: list[tuple[str, T]]
    names: dict[str, str]
    next: str | None


async def holdings(parts: Platform, page: str | None = None) -> tuple[list[Holding], str | None]:
    """List accounts by name with what they have.

    Returns:
      They, and the token of the next page.
    """
    accounts, following = await parts.accounts.all(limit=MAX_ACCOUNTS, page=page)
    heads = await asyncio.gather(*(parts.log.head(account.id) for account in accounts))
    found = [
        Holding(account, head["counts"], head["seq"]) for account, head in zip(accounts, heads, strict=True)
    ]
    return found, following


async def each_has(request: Request, view: View, of: Callable[[str], Awaitable[Sequence[T]]]) -> Held[T]:
    """List what each account of a page has, where no store knows of all: one question an account.

    Raises:
      InvalidRequest: There is no such page.
    """
    with pages_end():
        accounts, following = await view.parts.accounts.all(limit=MAX_ACCOUNTS, page=page_token(request))
    found = await asyncio.gather(*(of(account.id) for account in accounts))
    listed = [(account.id, each) for account, its in zip(accounts, found, strict=True) for each in its]
    having = {user for user, _ in listed}
    names = {account.id: account.username for account in accounts if account.id in having}
    return Held(listed, names, following)


_names: WeakKeyDictionary[Accounts, dict[str, str]] = WeakKeyDictionary()


async def names_of(view: View, user_ids: Iterable[str]) -> dict[str, str]:
    """Give the names of users where a list is of several; the id of whom has no account.

    An id follows from its name, so that what was read once stays true.
    """
    if not view.everybody:
        return {}
    accounts, wanted = view.parts.accounts, set(user_ids)
    known = _names.setdefault(accounts, {})
    if len(known) > _MOST_NAMES:
        known.clear()
    for account in await asyncio.gather(*(accounts.read(each) for each in wanted - known.keys())):
        if account is not None:
            known[account.id] = account.username
    return {each: known.get(each, each) for each in wanted}


_told: WeakKeyDictionary[EventLog, dict[str, tuple[float, Any]]] = WeakKeyDictionary()


async def _fresh(
    parts: Platform, name: str, ask: Callable[[Platform], Awaitable[T]], seconds: float = _FRESH_SECONDS
) -> T:
    """Give what was told some moments ago, or ask."""
    told = _told.setdefault(parts.log, {})
    known = told.get(name)
    if known is not None and time.monotonic() - known[0] < seconds:
        return known[1]
    made = await ask(parts)
    told[name] = (time.monotonic(), made)
    return made


async def totals(parts: Platform) -> Totals:
    """Count the events of all users, those behind the first page of them left out."""
    return await _fresh(parts, "totals", _totals)


async def recent_of_all(parts: Platform) -> Recent:
    """Tell what the latest events of all users tell."""
    return await _fresh(parts, "recent", _recent)


async def queue_standing(parts: Platform) -> QueueStanding | None:
    """Tell what is in the queue; None when it does not say."""
    return await _fresh(parts, "queue", _queue_standing, _QUEUE_FRESH_SECONDS)


async def _totals(parts: Platform) -> Totals:
    found, following = await holdings(parts)
    counts = Counter[str]()
    for holding in found:
        counts.update(holding.counts)
    return Totals(len(found), dict(counts), following is not None)


async def _recent(parts: Platform) -> Recent:
    latest = await parts.log.all_users.recorded(limit=LATEST)
    dead = await parts.log.all_users.dead(limit=FAILURES)
    asked = await parts.approvals.newest(None, pending=True, limit=LATEST)
    return recent_of(
        latest.events,
        dead.events,
        [event for event in latest.events if event["type"] == "llm.chat.response"],
        parts.settings.prices,
        waiting_since=None,
        approvals_until=[each["expiresAt"] for each in asked.approvals],
    )


async def _queue_standing(parts: Platform) -> QueueStanding | None:
    try:
        messages, age = await parts.queue.depth(), await parts.queue.oldest_age_seconds()
    except LightningError:
        return None
    return QueueStanding(messages, None if age is None else int(age))
