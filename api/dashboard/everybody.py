"""What all users together have, for operators."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from api.platform import Platform
from lightning.domain.accounts import Account
from lightning.log import EventLog

#: So many accounts are shown on a page, and counted together.
MAX_ACCOUNTS: Final = 100

#: Counting everybody's is repeated after so long at the earliest, however many operators look.
_FRESH_SECONDS: Final = 1.0


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


_counted: WeakKeyDictionary[EventLog, tuple[float, Totals]] = WeakKeyDictionary()


async def totals(parts: Platform) -> Totals:
    """Count the events of all users, those behind the first page of them left out."""
    known = _counted.get(parts.log)
    if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
        return known[1]
    found, following = await holdings(parts)
    counts = Counter[str]()
    for holding in found:
        counts.update(holding.counts)
    made = Totals(len(found), dict(counts), following is not None)
    _counted[parts.log] = (time.monotonic(), made)
    return made
