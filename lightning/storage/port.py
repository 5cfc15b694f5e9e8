"""The storage port: JSON documents in containers, partitioned by user.

The shape is that of Azure Cosmos DB for NoSQL, reduced to what the platform
needs: point reads, one atomic batch within one partition, conditional writes
by etag, and bounded queries over declared fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it was read, with the etag that names this version of it."""

    body: Body
    etag: str


@dataclass(frozen=True, slots=True)
class Create:
    """Write a document that must not exist yet."""

    body: Body


@dataclass(frozen=True, slots=True)
class Replace:
    """Write a document if it still has the etag that it was read with."""

    body: Body
    etag: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write a document whatever stands there."""

    body: Body


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document, only in the version ``etag`` if one is given."""

    id: str
    etag: str | None = None


Operation = Create | Replace | Upsert | Delete

#: Makes the operations of a batch from the pivot document as it stands.
Build = Callable[[Stored | None], Sequence[Operation]]


@dataclass(frozen=True, slots=True)
class Where:
    """One condition of a query; several are joined by AND."""

    field: str
    compare: Literal["=", "<", "<=", ">", ">=", "in"]
    value: Any


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query, and the token that asks for the next one."""

    items: list[Stored]
    next: str | None


@dataclass(frozen=True, slots=True)
class Container:
    """What a container may be asked about.

    Parameters:
      fields: The top-level fields that conditions and orders may name, besides ``id``.
      indexes: Groups of fields that are looked up together; ``userID`` is the partition.
    """

    fields: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()


#: The containers of the specification, and the log.
CONTAINERS: dict[str, Container] = {
    "users": Container(
        fields=("kind", "username", "expiresAt"),
        indexes=(("userID", "kind"), ("kind", "username"), ("expiresAt",)),
    ),
    "repos": Container(),
    "schedules": Container(),
    "events": Container(
        fields=("kind", "type", "state", "seq", "sweepAt", "root", "conversationID", "webhookID"),
        indexes=(
            ("userID", "kind", "seq"),
            ("sweepAt",),
            ("userID", "conversationID", "seq"),
            ("userID", "root"),
            ("userID", "seq", "webhookID"),
        ),
    ),
}


class Storage(Protocol):
    """Documents with conditional, atomic writes.

    Every document has an ``id`` and a ``userID``, its partition. Nothing spans
    two partitions or containers but a query without a partition.
    """

    async def get(self, container: str, partition: str, id: str) -> Stored | None:
        """Read one document.

        Returns:
          The document, or None when there is none.

        Raises:
          Transient: The store does not answer.
        """
        ...

    async def batch(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply all operations, or none.

        Parameters:
          container: The container of every document.
          partition: The ``userID`` of every document.
          operations: At most 100, each on another document.

        Returns:
          The new etag per operation, empty for a deletion.

        Raises:
          Conflict: A document to be created exists.
          PreconditionFailed: A document is not in the version named, or gone.
          Permanent: The batch is over the limits (``output_too_large``).
          Transient: The store does not answer; the batch may or may not have been applied.
        """
        ...

    async def batch_on(self, container: str, partition: str, pivot: str, build: Build) -> list[str]:
        """Apply a batch that is computed from one document of the same partition.

        ``build`` is given the pivot document in the version that the batch
        will be conditional on. It may be called again when somebody else
        changed the pivot meanwhile, on any thread: it must be quick and free
        of effects. To change the pivot, it returns a `Replace` with the etag
        it was given, or a `Create` where there was none.

        Raises:
          The errors of `batch`, for the documents other than the pivot; and
          whatever ``build`` raises, with nothing applied.
        """
        ...

    async def query(
        self,
        container: str,
        partition: str | None,
        where: Sequence[Where] = (),
        *,
        order_by: str = "id",
        descending: bool = False,
        limit: int = 100,
        page: str | None = None,
    ) -> Page:
        """Read documents in order, a page at a time.

        Parameters:
          container: The container to look in.
          partition: The user whose documents are meant; None looks at everybody's.
          where: Conditions on declared fields; a document without the field never matches.
          order_by: A declared field; documents without it are left out.
          descending: Largest first.
          limit: At most this many, 1 to 1,000.
          page: The token that the page before gave.

        Raises:
          ValueError: A field is not declared, or the page token is not one of ours.
          Transient: The store does not answer.
        """
        ...

    def session(self, container: str) -> str | None:
        """Give a token of what was written here, for a process that must read at least that.

        Returns:
          The token, for `resume` in the other process; None where every read is of the present.
        """
        ...

    def resume(self, container: str, token: str) -> None:
        """Read at least what was written where the token comes from."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
