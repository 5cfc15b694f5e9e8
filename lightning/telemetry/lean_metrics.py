"""Takes measurements with less ado than the SDK, where nothing asks for more.

One of the SDK's takes 6 microseconds, most of them to check, copy and hash attributes that are always the
same few. A lean one finds what adds it up by its attributes as they are.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, Final, cast

from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics import Counter as SdkCounter
from opentelemetry.sdk.metrics import Histogram as SdkHistogram

#: So many series are remembered for an instrument; further ones are the SDK's own work.
MAX_SERIES: Final = 1000


class Measure:
    """Takes what is measured by one instrument, in the same series as the SDK would.

    Parameters:
      instrument: A counter or a histogram; that of an API which nobody configured will do.
      max_series: So many are remembered.
    """

    def __init__(self, instrument: Counter | Histogram, *, max_series: int = MAX_SERIES) -> None:
        self._instrument = instrument
        self._max_series = max_series
        self._found: dict[tuple[tuple[str, str], ...], _Series] = {}

    def __call__(self, value: float, attributes: Mapping[str, str]) -> None:
        """Take one value.

        Parameters:
          value: The value; one below zero or without an end is the SDK's to refuse.
          attributes: Names and texts.
        """
        series = self._found.get(tuple(attributes.items()))
        if series is not None and 0 <= value < inf and series.is_whole():
            series.add(value)
            return
        if isinstance(self._instrument, Counter):
            self._instrument.add(value, attributes)
        else:
            self._instrument.record(value, attributes)
        self._look(attributes)

    def _look(self, attributes: Mapping[str, str]) -> None:
        """Find what the SDK has made for these attributes."""
        if isinstance(self._instrument, SdkCounter | SdkHistogram) and len(self._found) < self._max_series:
            try:
                series = _find(cast("Any", self._instrument), attributes)
            except AttributeError:  # an SDK that keeps them elsewhere
                return
            if series is not None:
                self._found[tuple(attributes.items())] = series


class _Value:
    """What the SDK's aggregations read of a measurement that is nobody's example."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value


class _Series:
    """The aggregations of one instrument and of the same attributes, one for each reader.

    Parameters:
      consumer: The SDK's, that has them by reader.
      aggregations: Those.
    """

    def __init__(self, consumer: Any, aggregations: tuple[Any, ...]) -> None:
        self._consumer = consumer
        self._storages = consumer._reader_storages
        self._aggregations = aggregations

    def is_whole(self) -> bool:
        """Tell whether the readers are still those for which it was made."""
        return self._consumer._reader_storages is self._storages

    def add(self, value: float) -> None:
        """Add one value."""
        taken = _Value(value)
        for each in self._aggregations:
            each.aggregate(taken, False)  # noqa: FBT003 -- no example is kept


def _find(instrument: Any, attributes: Mapping[str, str]) -> _Series | None:
    """Find the series of an instrument that has just taken a value; None: it is the SDK's own work."""
    consumer = instrument._measurement_consumer
    if not isinstance(consumer._sdk_config.exemplar_filter, AlwaysOffExemplarFilter):
        return None
    if not instrument._is_enabled():
        return None
    matches = [
        match
        for storage in consumer._reader_storages.values()
        for match in storage._instrument_view_instrument_matches.get(instrument, ())
    ]
    found = [
        aggregation
        for match in matches
        for aggregation in match._attributes_aggregation.values()
        if aggregation._attributes == attributes
    ]
    return _Series(consumer, tuple(found)) if len(found) == len(matches) else None
