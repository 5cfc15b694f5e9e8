"""The storage port: JSON documents in containers, partitioned by user.

The shape is that of Azure Cosmos DB for NoSQL, reduced to what the platform
needs: point reads, one atomic batch within one partition, conditional writes
by etag, and bounded queries over declared fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

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
    """Remove a document that is there, only in the version ``etag`` if one is given."""

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
      fields: The top-level fields that conditions may name, besides ``id``.
      orders: Those of them that an order may name, besides ``id``.
      indexes: Groups of fields that are looked up together, the one that orders last; ``userID`` is the
        partition. Where several serve a query, the last one named finds the fewest.
      over: Fields, each with the values of documents that are over: where a store is told to let
        documents expire, these do, so long after they were last written; none where it is empty.
    """

    fields: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    over: tuple[tuple[str, tuple[str, ...]], ...] = ()


#: The containers of the specification, and the log.
CONTAINERS: dict[str, Container] = {
    "users": Container(
        fields=("kind", "username", "expiresAt"),
        orders=("username", "expiresAt"),
        indexes=(("userID", "kind"), ("kind", "username"), ("expiresAt",)),
    ),
    "repos": Container(),
    "schedules": Container(
        fields=("kind", "dueAt", "state"),
        orders=("dueAt",),
        indexes=(("dueAt",), ("kind", "id")),
        over=(("kind", ("schedule",)), ("state", ("ended",))),
    ),
    "events": Container(
        fields=(
            "kind",
            "type",
            "state",
            "seq",
            "sweepAt",
            "reclaimAt",
            "root",
            "conversationID",
            "webhookID",
            "scheduleID",
            "recordedAt",
            "deadAt",
            "createdAt",
        ),
        orders=("seq", "sweepAt", "reclaimAt", "recordedAt", "deadAt", "createdAt"),
        indexes=(
            ("sweepAt",),
            ("reclaimAt",),
            ("recordedAt",),
            ("deadAt",),
            ("kind", "createdAt"),
            ("kind", "state", "createdAt"),
            ("userID", "kind", "seq"),
            ("userID", "type", "seq"),
            ("userID", "state", "seq"),
            ("userID", "webhookID", "seq"),
            ("userID", "scheduleID", "seq"),
            ("userID", "scheduleID", "state", "seq"),
            ("userID", "conversationID", "seq"),
            ("userID", "root", "seq"),
        ),
        over=(
            ("kind", ("event", "run", "run.log", "run.report", "budget", "turn", "approval")),
            ("state", ("done", "dead", "cancelled")),
        ),
    ),
}


class Storage(Protocol):
    r"""Documents with conditional, atomic writes.

    Every document has an ``id`` and a ``userID``, its partition. Nothing spans
    two partitions or containers but a query without a partition. An id has 1
    to 255 characters, no control character and none of ``/ \ ? #``.

    Parameters:
      charges: Whether each question is paid for, so that none is asked over and over.
    """

    charges: ClassVar[bool]

    async def get(self, container: str, partition: str, id: str) -> Stored | None:
        """Read one document.

        Returns:
          The document, or None when there is none; so also for what is no id.

        Raises:
          Transient: The store does not answer.
        """
        ...

    async def batch(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply all operations, or none.

        Parameters:
          container: The container of every document.
          partition: The ``userID`` of every document.
          operations: At most 100, each on another document, and 2 MiB in all. None at all change
            nothing, and ask whether the store answers.

        Returns:
          The new etag per operation, empty for a deletion.

        Raises:
          Conflict: A document to be created exists (``pointer`` is its id).
          PreconditionFailed: A document to be replaced or deleted is not in the version named, or not
            there (``pointer`` is its id): a deletion without an etag fails, too, when there is nothing to
            delete.
          ValueError: An id is none, a document is of another partition, or is named twice.
          Permanent: The batch is over the limits (``output_too_large``).
          Transient: The store does not answer; the batch may or may not have been applied.
        """
        ...

    async def batch_on(self, container: str, partition: str, pivot: str, build: Build) -> list[str]:
        """Apply a batch that is computed from one document of the same partition.

        ``build`` is given the pivot document in the version that the batch
        is conditional on, whether or not it changes the pivot: when somebody
        else changed it meanwhile, ``build`` is called again. So it may be
        called more than once, and on any thread: it must be quick and free of
        effects. To change the pivot, it returns a `Replace` with the etag it
        was given, or a `Create` where there was none. When it leaves the
        pivot alone, it has 98 operations at most, since a store may have to
        hold the pivot by operations of its own, after which its etag is
        another. When it returns nothing, nothing is applied.

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
          where: Conditions on declared fields; a document without the field, or with null there, never
            matches, and none is ``in`` an empty list.
          order_by: A field declared for it, then ``id``, then ``userID``; documents without it are left out.
          descending: Largest first.
          limit: At most this many, 1 to 1,000. A page ends before that, too, when its documents reach 4 MiB:
            only ``next`` tells whether there are more.
          page: The token that the page before gave.

        Raises:
          ValueError: A field is not declared for what it is used for, the limit is out of bounds, or the
            page token is none of ours.
          Transient: The store does not answer.
        """
        ...

    async def partitions(self, container: str, *, after: str = "", limit: int = 100) -> list[str]:
        """List the users who have documents in a container, in the store's order of text.

        Parameters:
          container: The container to look in.
          after: Only users behind this one.
          limit: At most so many, 1 to 1,000; a store may give fewer, but none only where there is none.

        Raises:
          ValueError: The limit is out of bounds.
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
