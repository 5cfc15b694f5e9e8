"""An emulated resource, and what is sent to it."""

from datetime import UTC, datetime

import httpx2
import pytest

from ops.emulators.monitor import MonitorEmulator


@pytest.fixture(scope="module")
def emulator():
    with MonitorEmulator(control_port=0) as running:
        yield running


@pytest.fixture
def monitor(emulator):
    """The module's emulator, as if it were new."""
    yield emulator
    emulator.faults.clear()
    emulator.store.clear()
    httpx2.delete(f"{emulator.control_url}/usage")


@pytest.fixture
def make_envelope(monitor):
    """Make envelopes of requests, a field of which may be another."""

    def make(key: str = monitor.key, tags: dict | None = None, **data: object) -> dict:
        base = {"ver": 2, "id": "a" * 16, "duration": "0.00:00:01.250", "responseCode": "0", "success": True}
        return {
            "name": "Microsoft.ApplicationInsights.Request",
            "iKey": key,
            "time": datetime.now(UTC).isoformat(),
            "tags": {"ai.operation.id": "b" * 32, "ai.cloud.role": "web", **(tags or {})},
            "data": {"baseType": "RequestData", "baseData": {**base, "name": "work", **data}},
        }

    return make
