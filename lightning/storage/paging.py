"""Page tokens: where a page of a query ended, for the page after it.

A token holds the place, and nothing of the store: it means the same in every process, and outlives them.
"""

import base64
import binascii
from contextlib import suppress
from typing import Any

import orjson

from lightning.storage.port import Body


def page_token(last: Body, order_by: str) -> str:
    """Write down where a page ended.

    Parameters:
      last: Its last document.
      order_by: The field of the order, behind which id and user decide.
    """
    return base64.urlsafe_b64encode(orjson.dumps([last[order_by], last["id"], last["userID"]])).decode()


def page_position(token: str) -> list[Any]:
    """Read where a page ended.

    Returns:
      The value in the field of the order, the id and the user of the last document.

    Raises:
      ValueError: The token is none of ours.
    """
    position: Any = None
    with suppress(binascii.Error, ValueError):
        position = orjson.loads(base64.urlsafe_b64decode(token))
    if not isinstance(position, list) or len(position) != 3 or not _are_keys(position):  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError("the page token is not one that a page of this list gave")
    return position  # pyright: ignore[reportUnknownVariableType]


def _are_keys(position: list[Any]) -> bool:
    """Tell whether values are a field to order by, an id and a user, such as every store takes."""
    value, document, user = position
    ordered = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)
    return ordered and isinstance(document, str) and isinstance(user, str)
