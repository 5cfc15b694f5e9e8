"""Has long work on spans done a little at a time, so that it holds nobody up.

Who computes in Python keeps all other threads of the process from it. Each of them may interrupt after 5 ms
(`sys.getswitchinterval`), only to lose its turn again when it next waits for a socket or a disk: to look at
the spans of two seconds at once stops a busy process for a tenth of a second, and whoever waits for it.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

#: Spans that are worked on without a pause: about a millisecond.
SPANS: Final = 64

#: Others have the processor for at least so long, and longer if they need it.
PAUSE_SECONDS: Final = 0.001

_T = TypeVar("_T")


def sliced(spans: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Give spans a few at a time, with a pause before all but the first few."""
    for start in range(0, len(spans), SPANS):
        if start:
            time.sleep(PAUSE_SECONDS)
        yield spans[start : start + SPANS]


class Unhurried(list[_T]):
    """A list of spans; whoever goes through it pauses now and then."""

    def __iter__(self) -> Iterator[_T]:
        """Go through them."""
        for some in sliced(self):
            yield from some
