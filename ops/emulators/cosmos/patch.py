"""Partial updates of a document.

Source: "Partial document update in Azure Cosmos DB".
"""

import copy
from typing import Any

from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.sql import evaluator, parse_condition
from ops.emulators.cosmos.values import UNDEFINED, as_array, as_object, at

MAX_OPERATIONS = 10
MAX_CONDITION_CHARACTERS = 4096

Document = dict[str, Any]


def patched(body: Document, request: Document, key_path: tuple[str, ...]) -> Document:
    """Apply a patch to a copy of a document.

    Parameters:
      body: The document.
      request: The patch: ``operations`` and, perhaps, a ``condition``.
      key_path: The partition key's path, which cannot be patched.

    Raises:
      CosmosError: The condition does not hold, or an operation is invalid or outside the subset.
    """
    condition = request.get("condition")
    if condition is not None:
        _require(body, condition)
    operations = as_array(request.get("operations")) or []
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise CosmosError(400, f"A patch has 1 to {MAX_OPERATIONS} operations.")
    result = copy.deepcopy(body)
    for operation in operations:
        _apply(result, as_object(operation) or {}, key_path)
    return result


def _require(body: Document, condition: object) -> None:
    if not isinstance(condition, str):
        raise CosmosError(400, "The condition of a patch must be a string.")
    text = condition.strip()
    node = parse_condition(text)
    if node is not None and evaluator(node, {})(body) is not True:
        raise CosmosError(412, "One of the specified pre-condition is not met.")


def _apply(body: Document, operation: Document, key_path: tuple[str, ...]) -> None:
    kind, path = str(operation.get("op", "")).lower(), operation.get("path")
    if kind not in {"add", "set", "replace", "remove", "incr"}:
        raise outside_subset(f"the patch operation {kind}")
    if kind != "remove" and "value" not in operation:
        raise CosmosError(400, f"The patch operation {kind} has no value.")
    if not isinstance(path, str) or not path.startswith("/") or path == "/":
        raise CosmosError(400, f"The patch path {path} must be a JSON pointer below the document.")
    steps = tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    if steps == key_path[: len(steps)] or steps[0] == "id" or steps[0].startswith("_"):
        raise CosmosError(400, f"The path {path} cannot be patched.")
    holder: Any = body
    for step in steps[:-1]:
        holder = _member(holder, step, path)
    if (array := as_array(holder)) is not None:
        _apply_to_array(array, steps[-1], kind, operation)
    elif (inner := as_object(holder)) is not None:
        _apply_to_object(inner, steps[-1], kind, operation)
    else:
        raise _missing(path)


def _member(holder: Any, step: str, path: str) -> Any:
    inner = at(holder, (int(step) if type(holder) is list and step.isdecimal() else step,))
    if inner is UNDEFINED:
        raise _missing(path)
    return inner


def _missing(path: str) -> CosmosError:
    return CosmosError(400, f"For a patch, the path {path} must exist up to its last step.")


def _apply_to_object(holder: Document, name: str, kind: str, operation: Document) -> None:
    path = operation["path"]
    if kind in {"replace", "remove"} and name not in holder:
        raise CosmosError(400, f"The path {path} does not exist.")
    if kind == "remove":
        del holder[name]
    elif kind == "incr":
        holder[name] = _incremented(holder.get(name, 0), operation)
    else:
        holder[name] = operation["value"]


def _apply_to_array(holder: list[Any], step: str, kind: str, operation: Document) -> None:
    if step == "-" and kind in {"add", "set"}:
        holder.append(operation["value"])
        return
    last = len(holder) if kind == "add" else len(holder) - 1
    if not step.isdecimal() or int(step) > last:
        raise CosmosError(400, f"The array has no place {operation['path']}.")
    place = int(step)
    if kind == "remove":
        del holder[place]
    elif kind == "add":
        holder.insert(place, operation["value"])
    elif kind == "incr":
        holder[place] = _incremented(holder[place], operation)
    else:
        holder[place] = operation["value"]


def _incremented(value: Any, operation: Document) -> Any:
    if type(value) not in {int, float} or type(operation["value"]) not in {int, float}:
        raise CosmosError(400, f"Both numbers of the increment of {operation['path']} must be numbers.")
    return value + operation["value"]
