"""Counts how events come and go from state to state, as it is committed."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from opentelemetry.metrics import get_meter

from lightning.telemetry import names
from lightning.telemetry.lean_metrics import Measure

#: The state of an event that is not recorded yet.
NEW: Final = "new"


class Moves:
    """The metric ``lightning.events.moved``.

    Whatever came into a state and did not leave it is in it: over all processes, what went from `NEW` is what
    was recorded, and none of it is lost.
    """

    def __init__(self) -> None:
        self._moved = Measure(
            get_meter(__name__).create_counter(
                names.EVENTS_MOVED, unit="{event}", description="Events that went from one state to another"
            )
        )

    def count(self, moved: Iterable[tuple[str, str, str]]) -> None:
        """Note what was committed.

        Parameters:
          moved: Of each event its type, the state before and the state now.
        """
        for (kind, before, now), number in Counter(moved).items():
            attributes = {names.TYPE: kind, names.STATE_BEFORE: before, names.STATE: now}
            self._moved(number, attributes)
