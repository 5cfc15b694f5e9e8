"""What one batch ends when there is much to end: the rest is left to the next one."""

from collections.abc import Sequence
from typing import Final

import orjson

from lightning.storage import Stored

#: Bytes of what one batch ends besides all else that it does: half of what a batch takes.
MAX_BYTES: Final = 1024 * 1024


def portion(found: Sequence[Stored]) -> Sequence[Stored]:
    """Give the first ones that one batch may end, at least one if there is any."""
    size = 0
    for number, stored in enumerate(found):
        size += len(orjson.dumps(stored.body))
        if number and size > MAX_BYTES:
            return found[:number]
    return found
