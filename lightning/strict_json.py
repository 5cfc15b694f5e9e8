"""Read JSON that strangers sent, and only JSON that can be stored and sent on unchanged.

Stricter than RFC 8259 where that leaves a choice (its sections 4, 6, 8.2 and 9):

- at most ``max_bytes`` long and ``max_depth`` arrays and objects deep;
- UTF-8 without a byte order mark;
- no key twice in one object;
- integers of 64 bits, signed or unsigned; other numbers finite as doubles; no NaN or Infinity;
- text that UTF-8 can carry (no lone surrogate) and that every database keeps (no U+0000).

The standard library's scanner does the reading, with hooks that notice trouble. Only then, or when an
escape looks odd, the body is read a second time to find where the trouble is.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn, TypeAlias

from lightning.errors import InvalidRequest

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

#: Escapes that may stand for U+0000 or for half of a surrogate pair.
_ODD_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")

#: A string, closed or not: it never fails to match, so its cost stays linear whatever the body.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)

_BRACKETS: Final = b"[]{}"
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_INT_RANGE: Final = range(-(2**63), 2**64)

#: Longer pointers are left out of the answer: they would only repeat the client's own keys.
_MAX_POINTER_CHARS: Final = 1000


class TooLarge(InvalidRequest):
    """The body is larger than the limit."""

    code = "too_large"
    status = 413


def loads(body: bytes, *, max_bytes: int = 262_144, max_depth: int = 32) -> Json:
    """Read one JSON value.

    Parameters:
      body: The body as it came, undecoded.
      max_bytes: Largest size, inclusive.
      max_depth: Most arrays and objects within one another, inclusive.

    Returns:
      The value, of plain Python types.

    Raises:
      TooLarge: The body is over ``max_bytes``; code ``too_large``, status 413.
      InvalidRequest: Anything else that is refused, status 400; code ``not_utf8``, ``not_json``,
        ``too_deep``, ``duplicate_key``, ``number_out_of_range`` or ``unstorable_text``. The last three
        carry a pointer to the member.
    """
    if len(body) > max_bytes:
        raise TooLarge(f"the body has {len(body)} bytes; at most {max_bytes} are accepted")
    _check_depth(body, max_depth)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 at byte {error.start}", code="not_utf8") from None
    try:
        return _decode(body, text)
    except json.JSONDecodeError as error:
        message = f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise InvalidRequest(message, code="not_json") from None


def _decode(body: bytes, text: str) -> Json:
    if _ODD_ESCAPE.search(body):
        _explain(text)
    try:
        return _FAST.decode(text)
    except _SuspectError:
        _explain(text)
        raise  # the two readings disagree: never accept what one of them refused


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise InvalidRequest(f"the body is nested more than {max_depth} deep", code="too_deep")


class _SuspectError(InvalidRequest):
    """A hook of the first reading met something to refuse, and does not know where it is."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _SuspectError("an object has the same key twice", code="duplicate_key")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 18 and (len(digits) > 20 or int(digits) not in _INT_RANGE):
        raise _SuspectError("an integer is over 64 bits", code="number_out_of_range")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _SuspectError("a number is beyond the range of doubles", code="number_out_of_range")
    return value


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"the body is not JSON: {name} is no JSON number", code="not_json")


_FAST: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_number, parse_constant=_no_constant
)


class _Pairs(list[tuple[str, Any]]):
    """An object of the second reading: its members in order, repeated ones too."""


class _Digits(str):
    """A number of the second reading, as it was written."""

    __slots__ = ()


_EXACT: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=_Digits, parse_float=_Digits, parse_constant=_no_constant
)


def _explain(text: str) -> None:
    """Refuse the first member that is to be refused, by its pointer; return if there is none."""
    _check_value(_EXACT.decode(text), "")


def _check_value(value: object, pointer: str) -> None:
    match value:
        case _Pairs():
            _check_object(value, pointer)
        case list():
            for index, item in enumerate(_as_items(value)):
                _check_value(item, f"{pointer}/{index}")
        case _Digits():
            _check_digits(value, pointer)
        case str():
            _check_text(value, pointer)
        case _:
            pass  # true, false and null


def _as_items(value: Any) -> Iterable[object]:
    return value


def _check_object(pairs: _Pairs, pointer: str) -> None:
    seen: set[str] = set()
    for key, value in pairs:
        _check_text(key, pointer)
        member = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if key in seen:
            _refuse("the same key stands twice in one object", "duplicate_key", member)
        seen.add(key)
        _check_value(value, member)


def _check_digits(digits: _Digits, pointer: str) -> None:
    try:
        if digits.lstrip("-").isdigit():
            _integer(digits)
        else:
            _number(digits)
    except _SuspectError as error:
        _refuse(error.message, error.code, pointer)


def _check_text(text: str, pointer: str) -> None:
    if "\0" in text:
        _refuse("text must not hold the character U+0000", "unstorable_text", pointer)
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("text must not hold half of a surrogate pair", "unstorable_text", pointer)


def _refuse(message: str, code: str, pointer: str) -> NoReturn:
    known = pointer if len(pointer) <= _MAX_POINTER_CHARS else None
    raise InvalidRequest(message, code=code, pointer=known)
