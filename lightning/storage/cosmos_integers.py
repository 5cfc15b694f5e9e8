"""Integers that Cosmos DB would round: it keeps every number as a double (IEEE 754), exact up to 2^53.

What is larger is stored as text, and a list beside it names the places, so that whatever was accepted is
read back as it was, and documents without such integers cost nothing to read.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

import orjson

#: The top-level field with the places: for each the keys and positions that lead there.
PLACES: Final = "$integers"

_EXACT: Final = 2**53 - 1

Path: TypeAlias = tuple[str | int, ...]


def storable(body: dict[str, Any]) -> dict[str, Any]:
    """Give a document as it can be stored: itself, unless it has such integers."""
    try:
        orjson.dumps(body, option=orjson.OPT_STRICT_INTEGER)  # much faster than looking
    except TypeError:
        places = list(_wide(body, ()))
    else:
        return body
    if not places:
        return body
    written: dict[str, Any] = _copied(body)
    for place in places:
        holder = _holder(written, place)
        holder[place[-1]] = str(holder[place[-1]])
    return {**written, PLACES: places}


def restored(body: dict[str, Any]) -> dict[str, Any]:
    """Give a document that was stored as it was before; it is changed in place."""
    for place in cast("list[Path]", body.pop(PLACES, ())):
        holder = _holder(body, place)
        holder[place[-1]] = int(holder[place[-1]])
    return body


def _wide(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, member in cast("dict[str, Any]", value).items():
            yield from _wide(member, (*path, name))
    elif isinstance(value, list):
        for place, element in enumerate(cast("list[Any]", value)):
            yield from _wide(element, (*path, place))
    elif isinstance(value, int) and abs(value) > _EXACT:
        yield path


def _holder(body: dict[str, Any], place: Path) -> Any:
    holder: Any = body
    for step in place[:-1]:
        holder = holder[step]
    return holder


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(member) for name, member in cast("dict[str, Any]", value).items()}
    return [_copied(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value
