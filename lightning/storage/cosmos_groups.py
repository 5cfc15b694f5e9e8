"""Group commit for Cosmos DB: batches on the same pivot that wait at once share one transactional batch.

Each batch on a pivot takes a read and a write, and two of them on one pivot cannot be under way together:
the second would lose on the pivot's etag. So whatever comes meanwhile waits, and goes together: each is
computed from the pivot as the one before leaves it, and the pivot is written once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from lightning.errors import Conflict, Permanent, PreconditionFailed, Transient
from lightning.storage.port import Build, Create, Delete, Operation, Replace, Stored
from lightning.storage.rules import (
    HOLDING_OPERATIONS,
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    check_batch,
    document_id,
)

#: The container, the partition and the id of a pivot.
Key = tuple[str, str, str]

Read = Callable[[str, str, str], Awaitable[Stored | None]]
Apply = Callable[[str, str, Sequence[Operation]], Awaitable[list[str]]]

#: Whoever loses against others for so long gives up.
CONTENTION_SECONDS = 10.0

#: The longest wait before a batch that lost is computed anew.
MAX_PAUSE_SECONDS = 0.25


@dataclass(eq=False, slots=True)
class Member:
    """A batch that waits, and who waits for it."""

    build: Build
    answer: "asyncio.Future[list[str]]"
    since: float = field(default_factory=time.monotonic)
    losses: int = 0

    def fail(self, error: Exception) -> None:
        """Let the one who waits see an error."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def succeed(self, etags: list[str]) -> None:
        """Let the one who waits see the etags of its operations."""
        if not self.answer.done():
            self.answer.set_result(etags)


class Round:
    """Batches that are to be applied together.

    Parameters:
      key: Their pivot.
      base: The pivot as it was read.
    """

    def __init__(self, key: Key, base: Stored | None) -> None:
        _, self._partition, self._pivot = key
        self._base = base
        self._current = base
        self._touched = False
        self._others: dict[str, Operation] = {}
        self._owners: dict[str, Member] = {}
        self._bytes = 0
        self._asked: list[tuple[Member, Sequence[Operation] | Exception]] = []

    def take(self, members: Sequence[Member]) -> int:
        """Take members in their order as long as they fit; tell how many."""
        return next((n for n, member in enumerate(members) if not self._add(member)), len(members))

    def _add(self, member: Member) -> bool:
        """Compute a batch from the pivot as those before leave it; tell whether it fits beside them."""
        try:
            operations = list(member.build(self._current))
            size = sum(map(len, check_batch(self._partition, operations, pivot=self._pivot)))
            left = self._left_by(operations)
        except Exception as error:  # noqa: BLE001 -- it belongs to whoever gave the build
            self._asked.append((member, error))
            return True
        others = {document_id(each): each for each in operations if document_id(each) != self._pivot}
        if not self._has_room(others, size):
            return False
        self._touched = self._touched or len(others) < len(operations)
        self._current = left
        self._others.update(others)
        self._owners.update(dict.fromkeys(others, member))
        self._bytes += size
        self._asked.append((member, operations))
        return True

    def _has_room(self, others: dict[str, Operation], size: int) -> bool:
        if not self._owners and not self._touched:
            return True
        fits = len(self._others) + len(others) + HOLDING_OPERATIONS <= MAX_OPERATIONS
        return fits and self._bytes + size <= MAX_BATCH_BYTES and self._others.keys().isdisjoint(others)

    def _left_by(self, operations: Sequence[Operation]) -> Stored | None:
        """Give the pivot as a batch leaves it; what is not on disk has an etag that no store gives."""
        for operation in operations:
            if document_id(operation) == self._pivot:
                self._check(operation)
                if isinstance(operation, Delete):
                    return None
                return Stored(operation.body, f"uncommitted {len(self._asked)}")
        return self._current

    def _check(self, operation: Operation) -> None:
        now = self._current
        if isinstance(operation, Create) and now is not None:
            raise Conflict(f"{self._pivot} exists", pointer=self._pivot)
        if isinstance(operation, Replace | Delete) and (
            now is None or operation.etag not in {None, now.etag}
        ):
            raise PreconditionFailed(f"{self._pivot} was changed, or is gone", pointer=self._pivot)

    def operations(self) -> list[Operation]:
        """Give the one batch: what holds or changes the pivot, and the rest; nothing for nothing."""
        if not self._others and not self._touched:
            return []
        return [*self._on_pivot(), *self._others.values()]

    def _on_pivot(self) -> list[Operation]:
        left = self._current
        if self._base is not None:
            etag = self._base.etag
            return [Delete(self._pivot, etag) if left is None else Replace(left.body, etag)]
        if left is not None:
            return [Create(left.body)]
        # that there is none is held by making it and removing it again
        return [Create({"id": self._pivot, "userID": self._partition}), Delete(self._pivot)]

    def owner(self, document: str | None) -> Member | None:
        """Give the batch that a document other than the pivot belongs to."""
        return self._owners.get(document or "")

    @property
    def members(self) -> list[Member]:
        """Those whose batches ask for something, or for nothing; in their order."""
        return [member for member, _ in self._asked]

    def settle(self, etags: Sequence[str]) -> None:
        """Tell everybody what became of it."""
        given = dict(zip(map(document_id, self.operations()), etags, strict=True))
        for member, asked in self._asked:
            if isinstance(asked, Exception):
                member.fail(asked)
            else:
                named = [("" if isinstance(each, Delete) else given[document_id(each)]) for each in asked]
                member.succeed(named)


class Groups:
    """Takes batches on pivots, and applies those of one pivot one round after another.

    Parameters:
      read: Reads a document of a container and partition.
      apply: Applies a batch.
    """

    def __init__(self, read: Read, apply: Apply) -> None:
        self._read = read
        self._apply = apply
        self._waiting: dict[Key, list[Member]] = {}
        self._leading: dict[Key, asyncio.Task[None]] = {}

    async def join(self, key: Key, build: Build) -> list[str]:
        """Have a batch computed and applied; see `Storage.batch_on`."""
        member = Member(build, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, []).append(member)
        if key not in self._leading:
            self._leading[key] = asyncio.create_task(self._lead(key))
        return await member.answer

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._leading:
            await asyncio.wait(list(self._leading.values()))

    async def _lead(self, key: Key) -> None:
        try:
            while members := self._waiting.pop(key, None):
                while members:
                    members = await self._round_of(key, members)
        finally:
            del self._leading[key]

    async def _round_of(self, key: Key, members: list[Member]) -> list[Member]:
        """Apply what fits into one batch; give those that are to be in another."""
        members = [member for member in members if not member.answer.done()]
        if not members:
            return []
        try:
            together = Round(key, await self._read(*key))
        except Exception as error:  # noqa: BLE001 -- whoever waits must hear of it
            return _failed(members, error)
        left = members[together.take(members) :]
        try:
            operations = together.operations()
            together.settle(await self._apply(key[0], key[1], operations) if operations else [])
        except Conflict as lost:
            return [*await self._lost(lost, together), *left]
        except Permanent as refused:
            await self._one_by_one(key, together.members, refused)
        except Exception as error:  # noqa: BLE001 -- whoever waits must hear of it
            _failed(together.members, error)
        return left

    async def _lost(self, lost: Conflict, together: Round) -> list[Member]:
        """Find out who is in the way: one of us, or somebody else who changed the pivot."""
        culprit = together.owner(lost.pointer)
        if culprit is not None:
            culprit.fail(lost)
            return together.members
        patient: list[Member] = []
        for member in together.members:
            member.losses += 1
            if time.monotonic() - member.since > CONTENTION_SECONDS:
                member.fail(Transient("others change the same document all the time", retry_after=1))
            else:
                patient.append(member)
        losses = max(member.losses for member in together.members)
        await asyncio.sleep(random.uniform(0, min(0.002 * 2**losses, MAX_PAUSE_SECONDS)))  # noqa: S311
        return patient

    async def _one_by_one(self, key: Key, members: list[Member], refused: Permanent) -> None:
        """Apply what the store refuses together, as one of them may be the cause, or their sum."""
        if len(members) == 1:
            members[0].fail(refused)
            return
        for member in members:
            alone = [member]
            while alone:
                alone = await self._round_of(key, alone)


def _failed(members: list[Member], error: Exception) -> list[Member]:
    for member in members:
        member.fail(error)
    return []
