"""Transactional batches: all operations within one partition happen, or none.

Source: "Transactional batch operations in Azure Cosmos DB".
"""

from collections.abc import Callable
from typing import Any, cast

import orjson

from ops.emulators.cosmos import charges
from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.items import Operation, Result, apply
from ops.emulators.cosmos.transaction import Transaction
from ops.emulators.cosmos.values import as_object

MAX_OPERATIONS = 100

_FAILED_DEPENDENCY = b'{"statusCode":424,"requestCharge":0}'


def read_operations(body: Any) -> list[Operation]:
    """Read the body of a batch.

    Raises:
      CosmosError: It is invalid, or has too many operations.
    """
    if not isinstance(body, list) or not body:
        raise CosmosError(400, "A batch is a list of at least one operation.")
    operations = cast("list[object]", body)
    if len(operations) > MAX_OPERATIONS:
        raise CosmosError(400, f"Batch request has more operations than what is supported: {MAX_OPERATIONS}.")
    return [_operation(as_object(operation) or {}) for operation in operations]


def _operation(operation: dict[str, Any]) -> Operation:
    kind = str(operation.get("operationType", "")).lower()
    if kind not in {"create", "upsert", "replace", "patch", "delete", "read"}:
        raise outside_subset(f"the batch operation {kind}")
    name = operation.get("id", "")
    body = operation.get("resourceBody")
    if not isinstance(name, str) or not (body is None or isinstance(body, dict)):
        raise CosmosError(400, "An operation of a batch has an invalid id or resourceBody.")
    return Operation(
        kind,
        name,
        cast("dict[str, Any] | None", body),
        operation.get("ifMatch"),
        operation.get("ifNoneMatch"),
    )


def run_batch(
    operations: list[Operation],
    transaction: Transaction,
    key_path: tuple[str, ...],
    commit: Callable[[], object],
) -> tuple[int, bytes, float]:
    """Run a batch.

    Parameters:
      operations: The operations.
      transaction: The transaction in which they happen.
      key_path: The partition key's path.
      commit: Makes the transaction's writes current.

    Returns:
      Status, body and charge: 200 if all succeeded, else 207 and no operation happened.
    """
    results: list[Result] = []
    for operation in operations:
        try:
            results.append(apply(transaction, operation, key_path))
        except CosmosError as error:
            charge = sum(result.charge for result in results) + charges.LEAST
            return 207, _failed(len(results), len(operations), error), charge
    commit()
    body = b"[" + b",".join(map(_succeeded, results)) + b"]"
    return 200, body, sum(result.charge for result in results)


def _failed(place: int, count: int, error: CosmosError) -> bytes:
    answers = [_FAILED_DEPENDENCY] * count
    answers[place] = orjson.dumps(
        {
            "statusCode": error.status,
            "subStatusCode": error.substatus,
            "requestCharge": charges.LEAST,
            "message": error.message,
        }
    )
    return b"[" + b",".join(answers) + b"]"


def _succeeded(result: Result) -> bytes:
    head: dict[str, Any] = {"statusCode": result.status, "requestCharge": round(result.charge, 2)}
    if result.version is None:
        return orjson.dumps(head)
    head["eTag"] = result.version.etag
    return orjson.dumps(head)[:-1] + b',"resourceBody":' + result.version.raw + b"}"
