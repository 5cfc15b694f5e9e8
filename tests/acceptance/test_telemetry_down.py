"""A platform whose telemetry goes nowhere: a destination that stalls, and a store that cannot be written."""

import pytest

from ops.chaos.installation import Installation, until
from ops.emulators.monitor import MonitorEmulator

pytestmark = pytest.mark.timeout(200)

EVENTS = 300


@pytest.fixture
def stalled():
    with MonitorEmulator() as monitor:
        monitor.faults.add("latency", seconds=600)
        yield monitor


def test_no_event_waits_for_telemetry_or_is_lost_with_it(tmp_path, stalled):
    data = tmp_path / "data"
    # Given a platform with a destination that stalls, and a span store that is no file
    (data / "spans.db").mkdir(parents=True)
    environment = {"APPLICATIONINSIGHTS_CONNECTION_STRING": stalled.connection_string}
    with Installation(data, environment) as running, running.user("ada") as client:
        # When it has a load to bear
        sent = [client.send("user.message", {"content": f"message {n}"}) for n in range(EVENTS)]
        # Then each event is done, at its first attempt
        until(lambda: client.event(sent[-1]["id"])["state"] == "done", "the last is done", seconds=90)
        over = [client.wait(event, timeout_seconds=60) for event in sent]
        assert {(event["state"], event["attempts"]) for event in over} == {("done", 1)}
    # And nothing was taken
    assert stalled.store.envelopes() == []
