"""Counts events as they begin and end: whoever adds it up sees whether all that began also ended."""

from collections.abc import Mapping

from opentelemetry.metrics import get_meter

from lightning.telemetry import names

_meter = get_meter(__name__)
_begun = _meter.create_counter(
    names.EVENTS_BEGUN,
    unit="{event}",
    description="Events that were recorded, or revived",
)
_over = _meter.create_counter(names.EVENTS_OVER, unit="{event}", description="Events that ended, by state")


def count_change(begun: int, over: Mapping[str, int]) -> None:
    """Note a change that is written.

    Parameters:
      begun: The events that began, or began anew.
      over: How many ended in each state.
    """
    if begun:
        _begun.add(begun)
    for state, number in over.items():
        _over.add(number, {names.STATE: state})
