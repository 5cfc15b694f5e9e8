"""Gives expressions their values, with Cosmos DB's undefined and its strict types.

Source: "Equality and comparison operators in Azure Cosmos DB for NoSQL": a comparison of two types,
or with undefined, is undefined; "Logical operators in Azure Cosmos DB for NoSQL": AND and OR of
undefined.
"""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.sql.nodes import (
    And,
    ArrayOf,
    Call,
    Compare,
    Count,
    In,
    Literal,
    Node,
    Not,
    ObjectOf,
    Or,
    Parameter,
    Path,
)
from ops.emulators.cosmos.values import UNDEFINED, as_array, at, rank, same

Parameters = Mapping[str, Any]
Evaluator = Callable[[Any], Any]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def evaluator(node: Node, parameters: Parameters) -> Evaluator:  # noqa: C901, PLR0911 -- one line a kind of node
    """Make the function that gives an expression's value for a document.

    Parameters:
      node: The expression.
      parameters: The query's parameters, by name with the ``@``.

    Raises:
      CosmosError: A parameter is missing.
    """
    match node:
        case Literal(value=value):
            return lambda _: value
        case Parameter():
            given = constant(node, parameters)
            return lambda _: given
        case Path(steps=steps):
            return _path(steps)
        case Compare():
            return _compare(node, parameters)
        case And(operands=operands):
            return _logical([evaluator(part, parameters) for part in operands], decisive=False)
        case Or(operands=operands):
            return _logical([evaluator(part, parameters) for part in operands], decisive=True)
        case Not(operand=operand):
            inner = evaluator(operand, parameters)
            return lambda document: UNDEFINED if (value := inner(document)) is UNDEFINED else not value
        case In(operand=operand, choices=choices):
            return _logical(
                [_compare(Compare("=", operand, choice), parameters) for choice in choices], decisive=True
            )
        case Call(name=name, arguments=arguments):
            return _call(name, [evaluator(argument, parameters) for argument in arguments])
        case ObjectOf() | ArrayOf():
            return _made(node, parameters)
        case Count():
            raise outside_subset("COUNT anywhere but as the only thing selected")


def constant(node: Node, parameters: Parameters) -> Any:
    """Give the value of a literal or a parameter; `UNDEFINED` of anything else.

    Raises:
      CosmosError: The parameter is missing.
    """
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Parameter):
        if node.name not in parameters:
            raise CosmosError(400, f"The parameter {node.name} has no value.")
        return parameters[node.name]
    return UNDEFINED


def _path(steps: tuple[str | int, ...]) -> Evaluator:
    if len(steps) == 1 and isinstance(steps[0], str):
        name = steps[0]
        return lambda document: document.get(name, UNDEFINED)
    return lambda document: at(document, steps)


def _compare(node: Compare, parameters: Parameters) -> Evaluator:
    left, right = evaluator(node.left, parameters), evaluator(node.right, parameters)
    if node.operator == "=":

        def equal(document: Any) -> Any:
            one, other = left(document), right(document)
            if rank(one) != rank(other) or one is UNDEFINED:
                return UNDEFINED
            return same(one, other)

        return equal
    order = _ORDERS[node.operator]

    def ordered(document: Any) -> Any:
        one, other = left(document), right(document)
        place = rank(one)
        if place != rank(other) or place in {0, 6, 7}:
            return UNDEFINED
        return order(0, 0) if one is None else order(one, other)

    return ordered


def _logical(operands: list[Evaluator], *, decisive: bool) -> Evaluator:
    """Make an OR, which ``True`` decides, or an AND, which ``False`` decides."""

    def combined(document: Any) -> Any:
        result: Any = not decisive
        for operand in operands:
            value = operand(document)
            if value is decisive:
                return decisive
            if value is not (not decisive):
                result = UNDEFINED
        return result

    return combined


def _call(name: str, arguments: list[Evaluator]) -> Evaluator:
    first = arguments[0]
    if name == "IS_DEFINED":
        return lambda document: first(document) is not UNDEFINED
    if name == "IS_NULL":
        return lambda document: first(document) is None
    second = arguments[1]

    def starts_with(document: Any) -> Any:
        text, prefix = first(document), second(document)
        return text.startswith(prefix) if type(text) is type(prefix) is str else UNDEFINED

    def array_contains(document: Any) -> Any:
        array, value = as_array(first(document)), second(document)
        if array is None or value is UNDEFINED:
            return UNDEFINED
        return any(same(element, value) for element in array)

    return starts_with if name == "STARTSWITH" else array_contains


def _made(node: ObjectOf | ArrayOf, parameters: Parameters) -> Evaluator:
    if isinstance(node, ObjectOf):
        members = [(name, evaluator(part, parameters)) for name, part in node.members]
        return lambda document: {
            name: value for name, part in members if (value := part(document)) is not UNDEFINED
        }
    elements = [evaluator(part, parameters) for part in node.elements]
    return lambda document: [value for part in elements if (value := part(document)) is not UNDEFINED]
