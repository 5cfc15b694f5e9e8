"""Goes through the logs of all users, each as it stood at one moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from lightning.archive.marker import unfinished
from lightning.audit.finding import Finding
from lightning.audit.rules import Bounds, broken
from lightning.audit.user_log import UserLog
from lightning.ids import account_id
from lightning.log.change import CONTAINER
from lightning.log.head import HEAD
from lightning.storage import Page, Storage, Where
from lightning.storage.walk import TOGETHER, documents, partitions, patiently

#: A log that is written to while it is read is read so often.
_ATTEMPTS: Final = 3

#: So many findings are kept; a store that is wrong throughout would fill the memory.
MOST: Final = 1_000


@dataclass(slots=True)
class Audit:
    """What was looked at and found.

    Parameters:
      users: Users whose logs were read.
      events: Events that were read.
      findings: What is wrong, at most `MOST` of it.
      wrong: How much is wrong in all.
    """

    users: int = 0
    events: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    wrong: int = 0

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if there is room."""
        self.wrong += 1
        if len(self.findings) < MOST:
            self.findings.append(finding)


async def audit(storage: Storage, bounds: Bounds, *, report: Callable[[str, int], None]) -> Audit:
    """Look at everything.

    Parameters:
      storage: The store.
      bounds: What is taken for possible.
      report: Told of events that were looked at.

    Raises:
      Transient: The store does not answer.
    """
    result = Audit()
    if await unfinished(storage) is not None:
        result.add(Finding("import_unfinished", "", "an import into this store was begun and is not done"))
    async for user_id in _misnamed_accounts(storage):
        result.add(Finding("account_misnamed", user_id, "its account is not where its name leads"))
    async for users in partitions(storage, CONTAINER):
        for start in range(0, len(users), TOGETHER):
            some = users[start : start + TOGETHER]
            logs = await asyncio.gather(*(_log(storage, user_id) for user_id in some))
            for user_id, log in zip(some, logs, strict=True):
                _judge(result, user_id, log, bounds)
                report("check", 0 if log is None else len(log.events))
    return result


def _judge(result: Audit, user_id: str, log: UserLog | None, bounds: Bounds) -> None:
    result.users += 1
    if log is None:
        result.add(Finding("moved", user_id, "the log was written to while it was read"))
        return
    result.events += len(log.events)
    for code, detail in broken(log, bounds):
        result.add(Finding(code, user_id, detail))


async def _log(storage: Storage, user_id: str) -> UserLog | None:
    """Read a user's log as it stood at one moment; None when it is written to all the time.

    Whatever changes a state or a queue moves the head in the same batch, so the head's etag tells.
    """
    for _ in range(_ATTEMPTS):
        before = await _head_etag(storage, user_id)
        log = UserLog(user_id)
        async for page in documents(storage, CONTAINER, user_id):
            log.add(page)
        if await _head_etag(storage, user_id) == before:
            return log
    return None


async def _head_etag(storage: Storage, user_id: str) -> str | None:
    stored = await patiently(lambda: storage.get(CONTAINER, user_id, HEAD))
    return None if stored is None else stored.etag


async def _misnamed_accounts(storage: Storage) -> AsyncGenerator[str]:
    """Find accounts that stand in another partition than the one that follows from their name."""
    token: str | None = None
    while True:
        page = await patiently(partial(_accounts, storage, token))
        for stored in page.items:
            if account_id(stored.body["username"]) != stored.body["userID"]:
                yield stored.body["userID"]
        token = page.next
        if token is None:
            return


async def _accounts(storage: Storage, token: str | None) -> Page:
    return await storage.query(
        "users", None, [Where("kind", "=", "account")], order_by="username", page=token
    )
