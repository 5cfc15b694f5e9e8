"""The repository port over the document store: bundles there, a copy on this machine, git in between.

Whoever reads or changes brings the copy up to the head first. A change is made in the copy, where nobody
sees it, and becomes part of the history when the head is replaced on its etag. Where somebody else was first,
it is made once more, to what they made of the repository.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import IO, Final

from lightning.errors import Conflict, InvalidRequest, NotFound, Transient
from lightning.repositories import diffing, workspace
from lightning.repositories.bundle import written
from lightning.repositories.cache import Cache
from lightning.repositories.content import (
    Archive,
    Cause,
    Change,
    Commit,
    Committed,
    Diff,
    File,
    Found,
    History,
    Listing,
)
from lightning.repositories.exchange import Exchange
from lightning.repositories.git import BRANCH, Folder
from lightning.repositories.head import BundleGone, Head, Heads
from lightning.repositories.incoming import ARRIVED, Incoming, check, quarantine
from lightning.repositories.port import NO_COMMIT, GitFailed, Limits
from lightning.repositories.remote import Branch, Remote, RemoteRefused
from lightning.repositories.scratch import scratch
from lightning.repositories.writing import (
    changed_tree,
    check_base,
    commit_tree,
    merged_tree,
    message_with,
    put_on_top,
)

#: Each failure means that somebody else's change was made.
ATTEMPTS: Final = 50

_WORD: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Makes a commit that follows the head, in the folder; None where nothing is to change.
Make = Callable[[Folder, str], Awaitable[str | None]]

#: Raises where what is to be made differs from the commit of the same cause that was made before.
CheckRepeat = Callable[[Folder, Commit], Awaitable[None]]


class StoredRepository:
    """One repository in the store.

    Parameters:
      heads: Its head and bundles.
      cache: The copies on this machine.
      repository: Its id.
      limits: How it is kept.
      remote: Where it lives, if not here: what is there counts, and this is a copy of it.
    """

    def __init__(
        self, heads: Heads, cache: Cache, repository: str, limits: Limits, remote: Remote | None = None
    ) -> None:
        self._heads = heads
        self._cache = cache
        self._repository = repository
        self._limits = limits
        self._remote = remote

    async def tip(self) -> str:
        """Give the newest commit; see `Repository.tip`."""
        return (await self._heads.read()).tip

    async def files(
        self, *, at: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """List files; see `Repository.files`."""
        async with self._read(at) as (folder, commit):
            entries = await folder.entries(commit)
        behind = [
            each
            for each in entries
            if each.path.startswith(prefix) and each.path.encode() > after.encode(errors="replace")
        ]
        more = len(behind) > limit
        return Listing(commit, behind[:limit], behind[limit - 1].path if more else None)

    async def read(self, path: str, *, at: str | None = None) -> File:
        """Read a file; see `Repository.read`."""
        async with self._read(at) as (folder, commit):
            return await folder.read(commit, path)

    async def search(
        self, pattern: str, *, at: str | None = None, regex: bool = False, ignore_case: bool = False
    ) -> Found:
        """Look for lines; see `Repository.search`."""
        async with self._read(at) as (folder, commit):
            return await folder.search(commit, pattern, regex=regex, ignore_case=ignore_case)

    async def log(
        self, *, at: str | None = None, path: str | None = None, skip: int = 0, limit: int = 50
    ) -> History:
        """Tell the history; see `Repository.log`."""
        async with self._read(at) as (folder, commit):
            return await folder.log(commit, path=path, skip=skip, limit=limit)

    async def diff(self, *, at: str | None = None, base: str | None = None) -> Diff:
        """Tell what two commits differ in; see `Repository.diff`."""
        async with self._read(at, base) as (folder, commit):
            before = base or await diffing.first_parent(folder, commit)
            return await diffing.diff(folder, before, commit)

    async def archive(self, into: IO[bytes], *, at: str | None = None) -> Archive:
        """Write the files as a tar; see `Repository.archive`."""
        async with self._read(at) as (folder, commit):
            return await workspace.archive(folder, commit, into)

    async def bundle(self) -> bytes:
        """Give the whole history; see `Repository.bundle`."""
        async with self._read(None) as (folder, commit):
            if commit == NO_COMMIT:
                raise Conflict("the repository is empty; write a file first", code="empty_repository")
            return await self._packed(folder, commit, NO_COMMIT)

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        message: str,
        author: str,
        base: str | None = None,
        cause: Cause | None = None,
    ) -> Committed:
        """Write and remove files; see `Repository.commit`."""
        why = _checked(cause or Cause())
        trailers = {"Lightning-Run": why.run, "Lightning-Event": why.event, "Lightning-Effect": why.effect}
        text = message_with(message, trailers)

        async def make(folder: Folder, tip: str) -> str | None:
            start = tip if base is None else base
            await check_base(folder, start, tip)
            tree = await put_on_top(folder, start, await changed_tree(folder, start, changes), tip)
            return None if tree is None else await commit_tree(folder, tree, [tip], text, author)

        # the narrowest of them tells a repeat
        name = next(
            (each for each in ("Lightning-Run", "Lightning-Effect") if trailers[each]), "Lightning-Event"
        )
        return await self._change(make, name, trailers[name])

    async def exchange(
        self,
        tar: IO[bytes],
        *,
        message: str,
        author: str,
        base: str,
        cause: Cause,
        goes_on: Callable[[], Awaitable[None]],
    ) -> Committed:
        """Exchange the files for those of a tar; see `Repository.exchange`."""
        why = _checked(cause)
        text = message_with(message, {"Lightning-Run": why.run, "Lightning-Event": why.event})
        exchange = Exchange(tar, base, text, author, goes_on)
        # what is refused in the end leaves nothing in the copy
        name, check = "Lightning-Run", exchange.check_repeat
        return await self._change(exchange.make, name, why.run, check_repeat=check, is_apart=True)

    async def settle(self, run: str, *, base: str) -> str | None:
        """Tell what a run has committed; see `Repository.settle`."""
        _checked(Cause(run))
        for _ in range(ATTEMPTS):
            head = await self._heads.read()
            # who has read the head before sees it changed, and asks anew whether the run goes on
            if await self._heads.touch(head):
                break
        else:
            raise _busy()
        if head.tip == base:
            return None
        async with self._synced() as (folder, head):
            made = await folder.with_trailer(head.tip, "Lightning-Run", run)
            return made[-1].id if made else None

    async def revert(self, run: str, *, author: str) -> Committed:
        """Undo what a run committed; see `Repository.revert`."""
        _checked(Cause(run))
        text = message_with(f"Undo what run {run} changed", {"Lightning-Reverts": run})

        async def make(folder: Folder, tip: str) -> str | None:
            made = await folder.with_trailer(tip, "Lightning-Run", run)
            if not made:
                raise NotFound("this run has committed nothing here", code="nothing_to_revert")
            before = tree = await folder.tree_of(tip)
            for each in made:
                parent = each.parents[0] if each.parents else NO_COMMIT
                undone = await folder.tree_of(parent)
                tree = await merged_tree(folder, await folder.tree_of(each.id), tree, undone)
            return None if tree == before else await commit_tree(folder, tree, [tip], text, author)

        return await self._change(make, "Lightning-Reverts", run)

    async def load(self, bundle: bytes) -> Committed:
        """Take over the history of a bundle; see `Repository.load`."""
        if self._remote is not None:
            message = "this repository lives elsewhere; push to it there, and have it fetched"
            raise Conflict(message, code="lives_elsewhere")
        if len(bundle) > self._limits.repository_bytes:
            raise self._too_large()
        incoming = Incoming.of_bundle(bundle)
        for _ in range(ATTEMPTS):
            async with self._synced() as (folder, head):
                if await folder.is_in_history(incoming.tip, head.tip):
                    return Committed(head.tip, created=False)
                async with incoming.beside(folder, head.tip) as apart:
                    if not await apart.is_in_history(head.tip, incoming.tip):
                        message = "it does not go on from what is here; fetch that, merge, and bundle anew"
                        raise Conflict(message, code="not_a_continuation")
                    if await self._publish(apart, head, incoming.tip):
                        return Committed(incoming.tip, created=True)
        raise _busy()

    async def refresh(self) -> str:
        """Fetch what is new where it lives; see `Repository.refresh`."""
        if self._remote is None:
            return await self.tip()
        return (await self._fetched(self._remote)).tip

    async def _fetched(self, remote: Remote) -> Branch:
        """Take over what is new where it lives, whatever is here."""
        for _ in range(ATTEMPTS):
            async with self._synced() as (folder, head):
                branch = await remote.branch(folder)
                if branch.tip == head.tip:
                    return branch
                if branch.tip == NO_COMMIT:
                    raise RemoteRefused("the branch is gone where the repository lives; push it there again")
                async with quarantine(folder, head.tip) as apart:
                    await remote.fetch(apart, branch, ARRIVED)
                    await check(apart, branch.tip)
                    if await self._publish(apart, head, branch.tip):
                        return branch
        raise _busy()

    async def _pushed(self, remote: Remote, branch: Branch, folder: Folder, head: Head, commit: str) -> bool:
        if not await remote.push(folder, branch, commit):
            return False
        # it is there, and counts; where somebody else has just fetched it, it is here, too
        await self._publish(folder, head, commit)
        return True

    async def _change(
        self,
        make: Make,
        trailer: str,
        value: str | None,
        *,
        check_repeat: CheckRepeat | None = None,
        is_apart: bool = False,
    ) -> Committed:
        for _ in range(ATTEMPTS):
            branch = None if self._remote is None else await self._fetched(self._remote)
            async with self._synced() as (folder, head):
                if branch is not None and branch.tip != head.tip:
                    continue  # somebody else was faster
                async with quarantine(folder, head.tip) if is_apart else nullcontext(folder) as place:
                    if value is not None and (before := await place.with_trailer(head.tip, trailer, value)):
                        if check_repeat is not None:
                            await check_repeat(place, before[-1])
                        return Committed(before[-1].id, created=False)
                    made = await make(place, head.tip)
                    if made is None:
                        return Committed(head.tip, created=False)
                    if self._remote is None or branch is None:
                        done = await self._publish(place, head, made)
                    else:
                        done = await self._pushed(self._remote, branch, place, head, made)
                    if done:
                        return Committed(made, created=True)
        raise _busy()

    async def _publish(self, folder: Folder, head: Head, tip: str) -> bool:
        if len(head.bundles) < self._limits.bundles and head.tip != NO_COMMIT:
            data = await self._packed(folder, tip, head.tip)
            if head.size + len(data) <= self._limits.repository_bytes:
                return await self._heads.publish(head, tip, data, whole=False)
        data = await self._packed(folder, tip, NO_COMMIT)
        return await self._heads.publish(head, tip, data, whole=True)

    @asynccontextmanager
    async def _read(self, *commits: str | None) -> AsyncGenerator[tuple[Folder, str]]:
        """Give the folder, and the first of the commits; the newest one for None."""
        async with self._synced() as (folder, head):
            for each in commits:
                if each is not None and not await folder.is_in_history(each, head.tip):
                    raise NotFound("there is no such commit in this history", code="no_such_commit")
            yield folder, commits[0] or head.tip

    @asynccontextmanager
    async def _synced(self) -> AsyncGenerator[tuple[Folder, Head]]:
        """Give the folder when it has the newest commit, and the head that says so."""
        head = await self._heads.read()
        for attempt in range(ATTEMPTS):
            async with self._cache.held(self._repository, alone=False) as folder:
                if head.tip == NO_COMMIT or await folder.has(head.tip):
                    yield folder, head
                    return
            try:
                async with self._cache.held(self._repository, alone=True) as folder:
                    await self._fetch(folder, head)
            except BundleGone:
                head = await self._heads.read()
            except GitFailed:
                if attempt:
                    raise
                # a copy that a crash of the machine has damaged is made anew
                await self._cache.drop(self._repository)
        raise _busy()

    async def _fetch(self, folder: Folder, head: Head) -> None:
        missing = list(head.bundles)
        for place in range(len(head.bundles), 0, -1):
            if await folder.has(head.bundles[place - 1].tip):
                await folder.point(BRANCH, head.bundles[place - 1].tip)
                missing = missing[place:]
                break
        for bundle in missing:
            data = await self._heads.bytes_of(bundle)
            with scratch("bundle") as place:
                path = place / "main.bundle"
                path.write_bytes(data)
                await folder.take(path, BRANCH, BRANCH)

    async def _packed(self, folder: Folder, tip: str, without: str) -> bytes:
        packed = await folder.pack(tip, without, max_bytes=self._limits.repository_bytes)
        if packed.truncated:
            raise self._too_large()
        return written(packed.data, tip, without)

    def _too_large(self) -> InvalidRequest:
        limit = self._limits.repository_bytes
        message = f"a repository has at most {limit} bytes with its history; keep large files elsewhere"
        return InvalidRequest(message, code="repository_too_large")


def _checked(cause: Cause) -> Cause:
    for value in (cause.run, cause.event, cause.effect):
        if value is not None and _WORD.fullmatch(value) is None:
            raise InvalidRequest("an id has 1 to 128 letters, digits and ._:-", code="invalid_parameter")
    return cause


def _busy() -> Transient:
    return Transient("others change the repository all the time; try again", code="repository_busy")
