"""The words of a query."""

import re
from dataclasses import dataclass
from typing import Any

from ops.emulators.cosmos.errors import CosmosError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<parameter>@[A-Za-z_]\w*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign><=|>=|!=|<>|\|\||\?\?|[=<>(){}\[\],.:*+\-/%?&|^~])
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)

KEYWORDS = frozenset(
    (
        *("SELECT", "VALUE", "TOP", "DISTINCT", "FROM", "AS", "WHERE", "ORDER", "BY", "ASC", "DESC"),
        *("OFFSET", "LIMIT", "AND", "OR", "NOT", "IN", "BETWEEN", "TRUE", "FALSE", "NULL", "UNDEFINED"),
        *("GROUP", "JOIN", "LIKE", "ESCAPE", "EXISTS", "ARRAY", "UDF"),
    )
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word: its kind, its text and, of a literal, its value."""

    kind: str
    text: str
    value: Any = None


END = Token("end", "the end of the query")


def tokenize(text: str) -> list[Token]:
    """Split a query into words; keywords are in capitals.

    Raises:
      CosmosError: Something in it is no word.
    """
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise CosmosError(400, f"Syntax error, invalid token near '{text[place : place + 20]}'.")
        place = found.end()
        if found.lastgroup != "space":
            tokens.append(_token(str(found.lastgroup), found.group()))
    tokens.append(END)
    return tokens


def _token(kind: str, text: str) -> Token:
    if kind == "number":
        return Token(kind, text, int(text) if text.isdecimal() else float(text))
    if kind == "string":
        return Token(kind, text, _ESCAPE.sub(_unescape, text[1:-1]))
    if kind == "name" and text.upper() in KEYWORDS:
        return Token("keyword", text.upper())
    return Token(kind, text)


def _unescape(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return _ESCAPES.get(found[2], found[2])
