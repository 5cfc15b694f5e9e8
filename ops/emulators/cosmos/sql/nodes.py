"""The syntax tree of a query, and its text."""

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: null, a boolean, a number or a string."""

    value: Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that comes with the query, by its name with the ``@``."""

    name: str


@dataclass(frozen=True, slots=True)
class Path:
    """A value within the document; without steps, the document."""

    steps: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    """An equality or an order between two values."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """True if all are."""

    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if one is."""

    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True if the function call is false."""

    operand: "Call"


@dataclass(frozen=True, slots=True)
class In:
    """True if the value equals one of the choices."""

    operand: "Node"
    choices: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A built-in function."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Count:
    """The aggregate COUNT: how many documents give its argument a value."""

    argument: "Node"


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object made of expressions."""

    members: tuple[tuple[str, "Node"], ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array made of expressions."""

    elements: tuple["Node", ...]


Node = Literal | Parameter | Path | Compare | And | Or | Not | In | Call | Count | ObjectOf | ArrayOf
Condition = Compare | And | Or | Not | In | Call | Literal | Parameter | Path


@dataclass(frozen=True, slots=True)
class Order:
    """One path of ORDER BY."""

    path: Path
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query.

    Parameters:
      select: What each document gives; None is the document itself.
      is_value: Whether it was asked for by ``SELECT VALUE`` (or ``*``), so that the result is bare.
      where: What a document must satisfy.
      order: By what the results are ordered.
      top: The greatest number of results, by TOP.
      offset: How many results to leave out, by OFFSET.
      limit: The greatest number of results, by LIMIT.
    """

    select: Node
    is_value: bool
    where: Node | None = None
    order: tuple[Order, ...] = ()
    top: Literal | Parameter | None = None
    offset: Literal | Parameter | None = None
    limit: Literal | Parameter | None = None

    @property
    def count(self) -> Count | None:
        """The aggregate, if the query is one."""
        return _count(self.select)


def _count(node: Node) -> Count | None:
    match node:
        case Count():
            return node
        case ArrayOf(elements=parts):
            found = [_count(part) for part in parts]
        case ObjectOf(members=members):
            found = [_count(part) for _, part in members]
        case _:
            found = []
    return next((count for count in found if count is not None), None)


def text_of(node: Node) -> str:  # noqa: PLR0911 -- one line a kind of node
    """Write an expression in the query language, about a document named ``c``."""
    match node:
        case Literal(value=value):
            return orjson.dumps(value).decode()
        case Parameter(name=name):
            return name
        case Path(steps=steps):
            return "c" + "".join(f"[{orjson.dumps(step).decode()}]" for step in steps)
        case Not(operand=operand):
            return f"NOT {text_of(operand)}"
        case Count(argument=argument):
            return f"COUNT({text_of(argument)})"
        case ObjectOf(members=members):
            return "{" + ", ".join(f"{orjson.dumps(n).decode()}: {text_of(v)}" for n, v in members) + "}"
        case ArrayOf(elements=elements):
            return f"[{_listed(elements)}]"
        case Call(name=name, arguments=arguments):
            return f"{name}({_listed(arguments)})"
        case _:
            return _text_of_condition(node)


def _text_of_condition(node: Compare | And | Or | In) -> str:
    match node:
        case Compare(operator=operator, left=left, right=right):
            return f"({text_of(left)} {operator} {text_of(right)})"
        case And(operands=operands):
            return "(" + " AND ".join(map(text_of, operands)) + ")"
        case Or(operands=operands):
            return "(" + " OR ".join(map(text_of, operands)) + ")"
        case In(operand=operand, choices=choices):
            return f"({text_of(operand)} IN ({_listed(choices)}))"


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(map(text_of, nodes))
