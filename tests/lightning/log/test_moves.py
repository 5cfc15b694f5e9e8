"""How events come and go is counted, so that the counts agree with the log."""

from collections import Counter

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lightning.events import Draft, now_text
from lightning.log import EventLog, moves
from lightning.log.head import HEAD
from lightning.storage.sqlite import SqliteStorage
from lightning.telemetry import names
from tests.full_log import claimed, fill, told


@pytest.fixture
def reader(monkeypatch):
    """What is counted meanwhile."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(moves, "get_meter", provider.get_meter)
    yield reader
    provider.shutdown()


async def test_what_began_and_is_not_over_is_what_the_log_has_under_way(tmp_path, reader):
    # Given events of every kind, of which some are done, dead, cancelled, interrupted, revived and discarded
    storage = SqliteStorage(tmp_path / "events.db")
    await fill(storage)
    log = EventLog(storage)
    for name in ("again", "never"):
        await log.append("anna", [told(name)])
        await log.end(await claimed(log, name), "dead", error={"code": "broken", "message": "it is"})
    await log.interventions.revive("anna", "again")
    await log.interventions.discard("anna", "never")
    interrupts = {"content": "no", "conversationID": "c", "whenBusy": "interrupt"}
    await log.append("anna", [Draft("stop", "llm.chat", "test", interrupts, now_text(), {})])
    # Then the counts say what the heads say
    heads = [(await storage.get("events", user, HEAD)).body["counts"] for user in ("anna", "bert")]
    stands = Counter[str]()
    for counts in heads:
        stands.update(counts)
    moved = counted(reader)
    assert +moved == +stands
    assert moved["accepted"] > 100
    assert {"done", "dead", "cancelled"} <= moved.keys()
    await storage.close()


def counted(reader) -> Counter[str]:
    """Tell how many events are in each state: what came into it, less what left it."""
    stands = Counter[str]()
    for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
        [metric] = scope.metrics
        for point in metric.data.data_points:
            stands[point.attributes[names.STATE]] += point.value
            if point.attributes[names.STATE_BEFORE] != moves.NEW:
                stands[point.attributes[names.STATE_BEFORE]] -= point.value
    return stands
