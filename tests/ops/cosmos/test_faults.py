"""Faults, put in the way from within the process and by the control interface."""

import httpx2
import pytest
from azure.core.exceptions import ServiceResponseError
from azure.cosmos import PartitionKey
from azure.cosmos.exceptions import CosmosHttpResponseError, CosmosResourceNotFoundError

from ops.emulators.cosmos import CosmosEmulator
from tests.ops.cosmos.conftest import connect, document, refused


@pytest.fixture(scope="module")
def controlled():
    with CosmosEmulator(control_port=0) as emulator, connect(emulator) as client:
        client.create_database("lightning").create_container("events", PartitionKey("/userID"))
        yield emulator


@pytest.fixture
def events(controlled):
    # the SDK waits and tries again after 429 by itself; here its first answer is wanted
    with connect(controlled, retry_throttle_total=-1) as client:
        container = client.get_database_client("lightning").get_container_client("events")
        container.read()
        yield container
    controlled.faults.clear()


@pytest.fixture
def control(controlled):
    with httpx2.Client(base_url=controlled.control_url) as client:
        client.delete("/usage")
        yield client
        client.delete("/faults")


@pytest.mark.parametrize(
    ("kind", "status"), [("throttle", 429), ("retry_with", 449), ("unavailable", 503), ("internal", 500)]
)
def test_a_fault_is_answered_as_often_as_it_was_asked_for(controlled, events, kind, status):
    # When a fault happens once to creations
    fault = controlled.faults.add(kind, operations=["create"], count=1, retry_after_ms=7)

    # Then the first fails and nothing was written, and the second is fine
    error = refused(status, events.create_item, document(kind))
    assert (error.headers.get("x-ms-retry-after-ms") == "7") == (kind == "throttle")
    events.create_item(document(kind))
    assert fault.fired == 1


def test_the_sdk_waits_out_throttling_by_itself(controlled):
    controlled.faults.add("throttle", operations=["upsert"], count=3, retry_after_ms=1)
    with connect(controlled) as client:
        container = client.get_database_client("lightning").get_container_client("events")
        assert container.upsert_item(document("waited"))["id"] == "waited"


@pytest.mark.parametrize(("when", "is_written"), [("before", False), ("after", True)])
def test_a_dropped_connection_says_nothing_of_what_was_done(controlled, events, when, is_written):
    # When the connection drops before or after a document is created
    controlled.faults.add("drop", operations=["create"], when=when)
    with pytest.raises(ServiceResponseError):
        events.create_item(document(when))

    # Then only what comes next shows whether it was
    controlled.faults.clear()
    if is_written:
        refused(409, events.create_item, document(when))
    else:
        events.create_item(document(when))


def test_dice_of_one_seed_fall_alike(controlled, events):
    def answers() -> list[bool]:
        controlled.faults.add("unavailable", operations=["batch"], probability=0.5, seed=7)
        try:
            return [is_answered() for _ in range(20)]
        finally:
            controlled.faults.clear()

    def is_answered() -> bool:
        try:
            events.execute_item_batch([("upsert", (document("dice"),))], "ada")
        except CosmosHttpResponseError:
            return False
        return True

    first = answers()
    assert len(set(first)) == 2
    assert answers() == first


def test_the_control_interface_adds_lists_and_clears(control, events):
    # When a fault is added from outside
    added = control.post("/faults", json={"kind": "unavailable", "operations": ["read"], "count": 1})
    assert added.status_code == 201
    refused(503, events.read_item, "x", "ada")

    # Then it is listed with how often it happened, until it is cleared
    assert [fault["fired"] for fault in control.get("/faults").json()] == [1]
    assert control.delete("/faults").status_code == 204
    assert control.get("/faults").json() == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "flood"},
        {"kind": "throttle", "when": "after"},
        {"kind": "drop", "probability": 2},
        {"kind": "drop", "colour": "red"},
        ["drop"],
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(control, fault):
    assert control.post("/faults", json=fault).status_code == 400


def test_latency_holds_back_only_what_it_is_meant_for(control, events, controlled):
    controlled.faults.add("latency", operations=["delete"], seconds=0.05)
    events.upsert_item(document("late"))
    response = events.delete_item("late", "ada")
    assert response is None
    assert controlled.faults.as_json()[0]["fired"] == 1


def test_usage_is_counted_by_operation(control, events):
    events.upsert_item(document("used"))
    events.read_item("used", "ada")
    events.read_item("used", "ada")
    usage = control.get("/usage").json()
    assert usage["read"] == {"count": 2, "charge": 2.0}
    assert usage["upsert"]["charge"] > 5


def test_time_and_staleness_can_be_changed_from_outside(control, events, controlled):
    assert control.post("/clock", json={"advance_seconds": 10}).status_code == 204
    assert control.post("/clock", json={}).status_code == 400
    assert control.post("/lag", json={"seconds": 5, "writes": 1}).status_code == 204
    assert (controlled.lag.seconds, controlled.lag.writes) == (5, 1)
    assert control.post("/lag", json={"days": 1}).status_code == 400
    assert control.post("/lag", json={"seconds": "long"}).status_code == 400


def test_what_is_not_there_is_counted_too(control, events):
    with pytest.raises(CosmosResourceNotFoundError):
        events.read_item("nothing", "u")
    assert control.get("/usage").json()["read"] == {"count": 1, "charge": 1.0}
