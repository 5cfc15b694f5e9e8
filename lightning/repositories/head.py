"""A repository in the document store: bundles in parts, and one document that says which of them count.

A bundle is written part by part under a name that nothing refers to yet; then the head is replaced on its
etag. Whoever is second finds the head changed, and begins again from there: a commit is in the history or
nowhere.

The name of a bundle holds the generation of the head that will name it. Once the head has that generation, or
a later one, a bundle of it that is not named never will be: that is how rests of crashes are told from a
bundle that somebody is writing, without a clock.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lightning.errors import NotFound, PreconditionFailed, Transient
from lightning.events import now_text
from lightning.repositories.port import NO_COMMIT
from lightning.storage.port import Create, Delete, Operation, Replace, Storage, Stored, Where

CONTAINER: Final = "repos"

#: Documents asked for, or removed, at a time.
_AT_A_TIME: Final = 8
_MAX_REMOVED: Final = 90


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle: what a commit adds to the one before, or a whole history.

    Parameters:
      name: What the ids of its parts begin with.
      parts: How many there are.
      size: Its bytes.
      tip: The commit that it brings.
    """

    name: str
    parts: int
    size: int
    tip: str


@dataclass(frozen=True, slots=True)
class Head:
    """Which commit is the newest, and the bundles that lead to it, in order."""

    tip: str
    generation: int
    bundles: tuple[Bundle, ...]
    etag: str

    @property
    def size(self) -> int:
        """The bytes of all bundles."""
        return sum(bundle.size for bundle in self.bundles)


class BundleGone(Exception):
    """A bundle was replaced by a larger one since the head was read."""


class Heads:
    """The heads and bundles of one repository.

    Parameters:
      storage: Where they are.
      user_id: Whose it is.
      repository: Its id.
      part_bytes: Bytes of a bundle in one document.
    """

    def __init__(self, storage: Storage, user_id: str, repository: str, *, part_bytes: int) -> None:
        self._storage = storage
        self._user_id = user_id
        self._repository = repository
        self._part_bytes = part_bytes

    async def read(self) -> Head:
        """Read the head.

        Raises:
          NotFound: The repository is not there.
        """
        stored = await self._storage.get(CONTAINER, self._user_id, head_id(self._repository))
        if stored is None:
            raise NotFound("there is no such repository, or it is not yours")
        return _head(stored)

    async def bytes_of(self, bundle: Bundle) -> bytes:
        """Read a bundle.

        Raises:
          BundleGone: It is not there any more.
        """
        found: list[bytes] = []
        for start in range(0, bundle.parts, _AT_A_TIME):
            numbers = range(start, min(start + _AT_A_TIME, bundle.parts))
            ids = [_part_id(bundle.name, number) for number in numbers]
            found += [await self._part(each) for each in ids]
        return b"".join(found)

    async def publish(self, head: Head, tip: str, data: bytes, *, whole: bool) -> bool:
        """Make a commit the newest.

        Parameters:
          head: The head that it follows.
          tip: The commit.
          data: The bundle that brings it.
          whole: Whether the bundle needs none of the others.

        Returns:
          Whether it is; not where somebody else was first.

        Raises:
          NotFound: The repository is not there any more.
        """
        generation = head.generation + 1
        name = f"{_parts_prefix(self._repository)}{generation:010d}-{secrets.token_hex(4)}"
        size = self._part_bytes
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        bundle = Bundle(name, len(pieces), len(data), tip)
        for number, piece in enumerate(pieces):
            await self._write([Create(self._part_body(name, number, piece))])
        bundles = (bundle,) if whole else (*head.bundles, bundle)
        new = replace(head, tip=tip, generation=generation, bundles=bundles)
        if not await self._replaced(new):
            await self._remove([_part_id(name, number) for number in range(len(pieces))])
            return False
        if whole:
            await self.tidy()
        return True

    async def touch(self, head: Head) -> bool:
        """Change nothing but the head's etag, so that who has read it before cannot publish behind it.

        Returns:
          Whether it is changed; not where somebody else was first.
        """
        body = head_body(self._user_id, self._repository, head)
        try:
            await self._write([Replace(body, head.etag)])
        except PreconditionFailed:
            return False
        return True

    async def tidy(self) -> None:
        """Remove the parts of bundles that do not count, and never will."""
        head = await self.read()
        named = {bundle.name for bundle in head.bundles}
        await self._remove(
            [
                each
                for each in await self._part_ids()
                if (name := each.rpartition("-")[0]) not in named and _generation(name) <= head.generation
            ]
        )

    async def remove(self) -> None:
        """Remove everything, the head first: nobody can publish from then on."""
        await self._remove([head_id(self._repository), *await self._part_ids()])

    async def _replaced(self, new: Head) -> bool:
        body = head_body(self._user_id, self._repository, new)
        try:
            await self._storage.batch(CONTAINER, self._user_id, [Replace(body, new.etag)])
        except PreconditionFailed:
            # our own write counts, where its answer was lost and it was sent again
            return (await self.read()).bundles[-1:] == new.bundles[-1:]
        except Transient:
            if (await self.read()).bundles[-1:] != new.bundles[-1:]:
                raise
        return True

    async def _write(self, operations: Sequence[Operation]) -> None:
        await self._storage.batch(CONTAINER, self._user_id, operations)

    async def _part(self, id: str) -> bytes:
        stored = await self._storage.get(CONTAINER, self._user_id, id)
        if stored is None:
            raise BundleGone
        return base64.b64decode(stored.body["data"])

    def _part_body(self, name: str, number: int, data: bytes) -> dict[str, Any]:
        return {
            "id": _part_id(name, number),
            "userID": self._user_id,
            "kind": "repository.part",
            "data": base64.b64encode(data).decode(),
        }

    async def _part_ids(self) -> list[str]:
        prefix = _parts_prefix(self._repository)
        # the character behind the hyphen in ASCII ends the range of ids that begin so
        where = [Where("id", ">=", prefix), Where("id", "<", f"{prefix[:-1]}.")]
        found: list[str] = []
        page: str | None = None
        while True:
            answer = await self._storage.query(
                CONTAINER, self._user_id, where, limit=_AT_A_TIME * 4, page=page
            )
            found += [stored.body["id"] for stored in answer.items]
            page = answer.next
            if page is None:
                return found

    async def _remove(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _MAX_REMOVED):
            some = ids[start : start + _MAX_REMOVED]
            try:
                await self._write([Delete(each) for each in some])
            except PreconditionFailed:  # somebody else removes, too
                for each in some:
                    await self._remove_one(each)

    async def _remove_one(self, id: str) -> None:
        try:
            await self._write([Delete(id)])
        except PreconditionFailed:
            return


def head_id(repository: str) -> str:
    """Give the id of the head of a repository."""
    return f"head-{repository}"


def empty_head(user_id: str, repository: str) -> dict[str, Any]:
    """Give the head of a repository that is being made."""
    return head_body(user_id, repository, Head(NO_COMMIT, 0, (), ""))


def head_body(user_id: str, repository: str, head: Head) -> dict[str, Any]:
    """Write a head as it is stored."""
    return {
        "id": head_id(repository),
        "userID": user_id,
        "kind": "repository.head",
        "tip": head.tip,
        "generation": head.generation,
        "updatedAt": now_text(),
        "bundles": [
            {"name": each.name, "parts": each.parts, "bytes": each.size, "tip": each.tip}
            for each in head.bundles
        ],
    }


def _head(stored: Stored) -> Head:
    body = stored.body
    bundles = tuple(
        Bundle(each["name"], each["parts"], each["bytes"], each["tip"]) for each in body["bundles"]
    )
    return Head(body["tip"], body["generation"], bundles, stored.etag)


def _parts_prefix(repository: str) -> str:
    return f"part-{repository}-"


def _part_id(name: str, number: int) -> str:
    return f"{name}-{number:05d}"


def _generation(name: str) -> int:
    return int(name.split("-")[-2])
