"""Lean measurements: the SDK's series, to the last value."""

import math

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from lightning.telemetry.lean_metrics import Measure

DELTA = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
VALUES = [(3, "a"), (0.004, "b"), (12_000.5, "a"), (0, "a"), (3, "a"), (-1, "a"), (math.inf, "b"), (7, "c")]


def readers():
    return [InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)]


def provider_of(own_readers, exemplars=None):
    exemplars = exemplars or AlwaysOffExemplarFilter()
    return MeterProvider(own_readers, exemplar_filter=exemplars, shutdown_on_exit=False)


def points(reader) -> list:
    """Tell what a reader collects, but for times."""
    data = reader.get_metrics_data()
    metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    told = []
    for metric in metrics:
        for point in metric.data.data_points:
            held = {name: value for name, value in vars(point).items() if not name.endswith("unix_nano")}
            told.append((metric.name, metric.unit, metric.data.aggregation_temporality, held))
    return told


def collected(take_of) -> list:
    """Tell what two readers collect, twice, of values that a counter and a histogram took."""
    own = readers()
    provider = provider_of(own)
    meter = provider.get_meter("test")
    takes = [take_of(meter.create_counter("events", "1")), take_of(meter.create_histogram("seconds", "s"))]
    told = []
    for _ in range(2):
        for take in takes:
            for value, kind in VALUES:
                take(value, {"lightning.type": kind, "lightning.outcome": "done"})
        told += [points(reader) for reader in own]
    provider.shutdown()
    return told


def plainly(instrument):
    return instrument.add if isinstance(instrument, Counter) else instrument.record


@pytest.mark.filterwarnings("ignore")
def test_a_lean_measurement_is_in_the_series_that_the_sdk_would_take():
    lean, whole = collected(Measure), collected(plainly)
    assert lean == whole
    assert len(whole[0]) == 6


def test_only_the_first_of_a_series_is_the_work_of_the_sdk():
    # Given an instrument that counts what it is asked for
    [reader, *_] = readers()
    provider = provider_of([reader])
    counter = provider.get_meter("test").create_counter("events")
    asked = []
    measure = Measure(counter)
    counter.add = lambda value, attributes: (asked.append(value), Counter.add(counter, value, attributes))
    # When values of two series come
    for value in (1, 2, 3):
        measure(value, {"a": "x"})
        measure(value, {"a": "y"})
    # Then it was asked once for each, and all are counted
    assert asked == [1, 1]
    assert [held["value"] for *_, held in points(reader)] == [6, 6]
    provider.shutdown()


def test_a_reader_that_comes_later_gets_what_is_measured_from_then_on():
    first, second = readers()
    provider = provider_of([first])
    measure = Measure(provider.get_meter("test").create_counter("events"))
    for _ in range(3):
        measure(1, {"a": "x"})
    provider.add_metric_reader(second)
    for _ in range(2):
        measure(1, {"a": "x"})
    assert [held["value"] for *_, held in points(first)] == [5]
    assert [held["value"] for *_, held in points(second)] == [2]
    provider.shutdown()


def test_examples_are_kept_where_they_are_asked_for():
    [reader, *_] = readers()
    provider = provider_of([reader], AlwaysOnExemplarFilter())
    measure = Measure(provider.get_meter("test").create_histogram("seconds"))
    for value in (1, 2, 300):
        measure(value, {"a": "x"})
    [(*_, held)] = points(reader)
    assert held["count"] == 3
    assert {each.value for each in held["exemplars"]} >= {2, 300}
    provider.shutdown()


def test_series_beyond_those_that_are_remembered_are_counted():
    [reader, *_] = readers()
    provider = provider_of([reader])
    measure = Measure(provider.get_meter("test").create_counter("events"), max_series=1)
    for _ in range(2):
        for name in "xyz":
            measure(1, {"a": name})
    assert [held["value"] for *_, held in points(reader)] == [2, 2, 2]
    provider.shutdown()


def test_where_nobody_measures_nothing_is_done():
    measure = Measure(NoOpMeterProvider().get_meter("test").create_histogram("seconds"))
    measure(1, {"a": "x"})
    measure(2, {"a": "x"})
