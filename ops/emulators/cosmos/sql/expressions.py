"""Reads expressions by recursive descent.

Source: "Scalar expressions", "Operators" and "System functions" of Azure Cosmos DB for NoSQL.
"""

from collections.abc import Callable
from typing import TypeVar

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
from ops.emulators.cosmos.sql.tokens import Token, tokenize

T = TypeVar("T")

#: The built-in functions, with how many arguments they take.
FUNCTIONS = {"IS_DEFINED": 1, "IS_NULL": 1, "ARRAY_CONTAINS": 2, "STARTSWITH": 2}

MAX_DEPTH = 64

_COMPARISONS = frozenset({"=", "<", "<=", ">", ">="})
_REFUSED = {
    "!=": "the operator != (its result across types differs between documentation and practice)",
    "<>": "the operator <>",
    "||": "string concatenation",
    "??": "the operator ??",
    "?": "the operator ?",
    "+": "arithmetic",
    "-": "arithmetic",
    "*": "arithmetic",
    "/": "arithmetic",
    "%": "arithmetic",
}
_CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}


class Expressions:
    """The words of a text, and how expressions are made of them.

    Raises:
      CosmosError: The text is not in the language, or outside the subset.
    """

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._place = 0
        self._depth = 0
        self._alias = "root"

    # Words

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place += 1
        return token

    def _accept(self, *texts: str) -> str | None:
        """Take the next word if it is this keyword or sign."""
        token = self._next
        if token.kind in {"keyword", "sign"} and token.text in texts:
            self._place += 1
            return token.text
        return None

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unexpected()

    def _unexpected(self) -> CosmosError:
        token = self._next
        if token.kind == "sign" and token.text in _REFUSED:
            return outside_subset(_REFUSED[token.text])
        if token.kind == "keyword":
            return outside_subset(f"{token.text} at this place of a query")
        return CosmosError(400, f"Syntax error, incorrect syntax near '{token.text}'.")

    def _name(self) -> str:
        if self._next.kind != "name":
            raise self._unexpected()
        return self._take().text

    def _separated(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self._accept(","):
            found.append(read())
        return found

    # Expressions

    def _expression(self) -> Node:
        found = [self._all()]
        while self._accept("OR"):
            found.append(self._all())
        return found[0] if len(found) == 1 else Or(tuple(found))

    def _all(self) -> Node:
        found = [self._negation()]
        while self._accept("AND"):
            found.append(self._negation())
        return found[0] if len(found) == 1 else And(tuple(found))

    def _negation(self) -> Node:
        if not self._accept("NOT"):
            return self._comparison()
        inner = self._comparison()
        if not isinstance(inner, Call):
            raise outside_subset("NOT before anything but a function")
        return Not(inner)

    def _comparison(self) -> Node:
        left = self._operand()
        token = self._next
        if token.kind == "sign" and token.text in _COMPARISONS:
            self._place += 1
            return Compare(token.text, left, self._operand())
        if self._accept("IN"):
            self._expect("(")
            choices = tuple(self._separated(self._operand))
            self._expect(")")
            return In(left, choices)
        if self._accept("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            return And((Compare(">=", left, low), Compare("<=", left, self._operand())))
        return left

    def _operand(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CosmosError(400, f"The query is nested deeper than {MAX_DEPTH} levels.")
        operand = self._one()
        self._depth -= 1
        return operand

    def _one(self) -> Node:
        token = self._take()
        match token.kind:
            case "number" | "string":
                return Literal(token.value)
            case "parameter":
                return Parameter(token.text)
            case "keyword" if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text])
            case "name":
                return self._call(token) if self._accept("(") else self._path(token)
            case "sign":
                return self._composed(token)
            case _:
                self._place -= 1
                raise self._unexpected()

    def _composed(self, token: Token) -> Node:
        if token.text == "(":
            inner = self._expression()
            self._expect(")")
            return inner
        if token.text == "-" and self._next.kind == "number":
            return Literal(-self._take().value)
        if token.text == "[":
            elements = () if self._peek("]") else tuple(self._separated(self._operand))
            self._expect("]")
            return ArrayOf(elements)
        if token.text == "{":
            members = () if self._peek("}") else tuple(self._separated(self._member))
            self._expect("}")
            return ObjectOf(members)
        self._place -= 1
        raise self._unexpected()

    def _peek(self, text: str) -> bool:
        return self._next.kind == "sign" and self._next.text == text

    def _member(self) -> tuple[str, Node]:
        name = self._take()
        if name.kind not in {"string", "name"}:
            self._place -= 1
            raise self._unexpected()
        self._expect(":")
        return (name.value if name.kind == "string" else name.text), self._operand()

    def _call(self, token: Token) -> Node:
        name = token.text.upper()
        if name not in FUNCTIONS and name != "COUNT":
            raise outside_subset(f"the function {name}")
        arguments = tuple(self._separated(self._operand))
        self._expect(")")
        if name == "COUNT":
            if len(arguments) != 1:
                raise CosmosError(400, "COUNT takes one argument.")
            return Count(arguments[0])
        if len(arguments) != FUNCTIONS[name]:
            raise outside_subset(f"{name} with {len(arguments)} arguments")
        return Call(name, arguments)

    def _path(self, token: Token) -> Node:
        if token.text != self._alias:
            raise CosmosError(400, f"Identifier '{token.text}' could not be resolved.")
        steps: list[str | int] = []
        while sign := self._accept(".", "["):
            step = self._take()
            if sign == "." and step.kind in {"name", "keyword"}:
                steps.append(step.text)
            elif sign == "[" and (step.kind == "string" or type(step.value) is int):
                steps.append(step.value)
                self._expect("]")
            else:
                self._place -= 1
                raise self._unexpected()
        return Path(tuple(steps))
