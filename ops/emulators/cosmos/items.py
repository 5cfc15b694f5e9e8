"""Operations on single documents, within a transaction: alone, or as part of a batch.

Sources: "Documents" of the REST reference; "Transactions and optimistic concurrency control".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ops.emulators.cosmos import charges
from ops.emulators.cosmos.documents import check_id
from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.patch import patched
from ops.emulators.cosmos.transaction import Transaction
from ops.emulators.cosmos.versions import Version


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one document.

    Parameters:
      kind: create, upsert, replace, patch, delete or read.
      id: The document, where it is not in the body.
      body: The document, or the patch.
      if_match: The etag that the document must have; ``*``: any.
      if_none_match: The etag that it must not have, for a read.
    """

    kind: str
    id: str = ""
    body: dict[str, Any] | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did.

    Parameters:
      status: Its HTTP status.
      version: The document afterwards; None: there is none.
      charge: In request units.
    """

    status: int
    version: Version | None
    charge: float


def apply(transaction: Transaction, operation: Operation, key_path: tuple[str, ...]) -> Result:
    """Do one operation within a transaction.

    Raises:
      CosmosError: It cannot be done.
    """
    if operation.if_none_match is not None and operation.kind != "read":
        raise outside_subset(f"If-None-Match with {operation.kind}")
    return _KINDS[operation.kind](transaction, operation, key_path)


def _create(transaction: Transaction, operation: Operation, _key_path: tuple[str, ...]) -> Result:
    body = operation.body or {}
    if operation.if_match is not None:
        raise outside_subset("If-Match with create")
    if transaction.find(check_id(body)) is not None:
        raise CosmosError(409, "Resource with specified id or name already exists.")
    return _written(transaction.put(body, None), 201, replacing=False)


def _upsert(transaction: Transaction, operation: Operation, _key_path: tuple[str, ...]) -> Result:
    body = operation.body or {}
    before = transaction.find(check_id(body))
    if before is None:  # If-Match is for what exists: the SDKs document that it is created all the same
        return _written(transaction.put(body, None), 201, replacing=False)
    _require_match(before, operation)
    return _written(transaction.put(body, before), 200, replacing=True)


def _replace(transaction: Transaction, operation: Operation, _key_path: tuple[str, ...]) -> Result:
    body = operation.body or {}
    if check_id(body) != operation.id:
        raise outside_subset("replacing a document by one of another id")
    before = _existing(transaction, operation)
    return _written(transaction.put(body, before), 200, replacing=True)


def _patch(transaction: Transaction, operation: Operation, key_path: tuple[str, ...]) -> Result:
    before = _existing(transaction, operation)
    after = patched(before.body or {}, operation.body or {}, key_path)
    return _written(transaction.put(after, before), 200, replacing=True)


def _delete(transaction: Transaction, operation: Operation, _key_path: tuple[str, ...]) -> Result:
    before = _existing(transaction, operation)
    transaction.delete(operation.id, before)
    return Result(204, None, charges.write(len(before.raw), before.cost, replacing=False))


def _read(transaction: Transaction, operation: Operation, _key_path: tuple[str, ...]) -> Result:
    found = _existing(transaction, operation)
    if operation.if_none_match in {"*", found.etag}:
        return Result(304, None, charges.LEAST)
    return Result(200, found, charges.read(len(found.raw)))


_KINDS: dict[str, Callable[[Transaction, Operation, tuple[str, ...]], Result]] = {
    "create": _create,
    "upsert": _upsert,
    "replace": _replace,
    "patch": _patch,
    "delete": _delete,
    "read": _read,
}


def _existing(transaction: Transaction, operation: Operation) -> Version:
    found = transaction.find(operation.id)
    if found is None:
        raise CosmosError(404, "Entity with the specified id does not exist in the system.")
    _require_match(found, operation)
    return found


def _require_match(version: Version, operation: Operation) -> None:
    if operation.if_match not in {None, "*", version.etag}:
        raise CosmosError(412, "One of the specified pre-condition is not met")


def _written(version: Version, status: int, *, replacing: bool) -> Result:
    return Result(status, version, charges.write(len(version.raw), version.cost, replacing=replacing))
