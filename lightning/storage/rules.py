"""What every store refuses alike, before it is asked: the limits of a transactional batch of Cosmos DB.

A store on one machine could take more. It does not, so that what works on a laptop works on Azure.
"""

import re
from collections.abc import Sequence
from typing import Final

import orjson

from lightning.errors import Permanent
from lightning.storage.port import CONTAINERS, Delete, Operation, Where

#: Operations in one transactional batch.
MAX_OPERATIONS: Final = 100

#: Where ``build`` leaves the pivot alone, the batch needs operations of its own that hold it: two, where
#: there is none (it is made and removed), else one.
HOLDING_OPERATIONS: Final = 2

#: Bytes of all documents of a batch.
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024

#: Documents on one page of a query.
MAX_PAGE: Final = 1_000

#: Bytes of the documents of a page, as Cosmos DB has it; the one that goes beyond is the last.
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024

#: An id stands in the addresses of Cosmos DB, which take none of these; 255 characters are what it names
#: as the longest for every tool.
_ID: Final = re.compile(r"[^/\\?#\x00-\x1f\x7f]{1,255}")


def is_document_id(id: str) -> bool:
    """Tell whether a document may be called so."""
    return _ID.fullmatch(id) is not None


def document_id(operation: Operation) -> str:
    """Give the id of the document that an operation is about."""
    return operation.id if isinstance(operation, Delete) else operation.body["id"]


def check_batch(partition: str, operations: Sequence[Operation], *, pivot: str | None = None) -> list[bytes]:
    """Check all of a batch that does not depend on what is stored.

    Parameters:
      partition: The ``userID`` that every document must have.
      operations: What is to be done.
      pivot: The document that the batch is to be conditional on, if there is one.

    Returns:
      The JSON of each operation's document, empty for a deletion.

    Raises:
      ValueError: A document has no id that it may have, belongs to another partition, or is named twice.
      Permanent: There are too many operations or bytes (``output_too_large``).
    """
    named = [_checked(partition, operation) for operation in operations]
    if len(set(named)) < len(named):
        raise ValueError("a batch names one document twice")
    holding = HOLDING_OPERATIONS if pivot is not None and operations and pivot not in named else 0
    if len(operations) + holding > MAX_OPERATIONS:
        message = f"{len(operations)} operations in a batch of at most {MAX_OPERATIONS - holding}"
        raise Permanent(message, code="output_too_large")
    bodies = [b"" if isinstance(each, Delete) else orjson.dumps(each.body) for each in operations]
    if sum(map(len, bodies)) > MAX_BATCH_BYTES:
        raise Permanent("a batch over 2 MiB", code="output_too_large")
    return bodies


def _checked(partition: str, operation: Operation) -> str:
    if not isinstance(operation, Delete) and operation.body.get("userID") != partition:
        raise ValueError("a document outside the partition of its batch")
    name = document_id(operation)
    if not is_document_id(name):
        message = f"{name[:300]!r} is no id: it has 1 to 255 characters, no / \\ ? # and no control character"
        raise ValueError(message)
    return name


def check_query(container: str, where: Sequence[Where], order_by: str, limit: int) -> None:
    """Check that a query asks only what every store answers.

    Raises:
      ValueError: A field is not declared, or the page is no size that a page may have.
    """
    declared = CONTAINERS[container]
    for condition in where:
        if condition.field not in {"id", *declared.fields}:
            raise ValueError(f"{container} has no declared field {condition.field!r}")
    if order_by not in {"id", *declared.orders}:
        raise ValueError(f"{container} has no order declared by {order_by!r}")
    check_limit(limit)


def check_limit(limit: int) -> None:
    """Check the size of a page.

    Raises:
      ValueError: It is no size that a page may have.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"a page of {limit}: it has 1 to {MAX_PAGE} documents")


def asks_for_nothing(where: Sequence[Where]) -> bool:
    """Tell whether a condition leaves nothing to find, so that no store need be asked."""
    return any(
        all(value is None for value in condition.value)
        if condition.compare == "in"
        else condition.value is None
        for condition in where
    )
