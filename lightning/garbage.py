"""How often a process looks for garbage that refers to itself; all other is freed at once, without a look."""

import gc
from typing import Final

#: Objects made and not freed since the last look. Python's 700 are the events of a moment, all still in use.
OBJECTS_BETWEEN_LOOKS: Final = 10_000


def look_less_often() -> None:
    """Leave everything that is loaded by now out of all looks, and let more come together before the next.

    For processes that serve for long; called once, when what lives as long as the process is there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS)
