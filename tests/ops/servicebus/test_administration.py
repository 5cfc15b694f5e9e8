"""The list of the queues, by the SDK's own client for administration."""

import datetime as dt

import pytest
from azure.core.exceptions import HttpResponseError

from brokers.servicebus_administration import open_administration
from brokers.servicebus_namespace import Told
from ops.emulators.servicebus import EntityProperties, Fault, Options, Policy, ServiceBusEmulator
from ops.emulators.servicebus.entities.namespace import Declarations

DECLARED = Declarations(
    queues={
        "a": EntityProperties(lock_duration=30, max_delivery_count=7),
        "b": EntityProperties(duplicate_window=60, time_to_live=5, dead_letters_expired=True),
    },
    is_strict=True,
)


@pytest.fixture(scope="module")
def strict():
    with ServiceBusEmulator(Options(declarations=DECLARED, policy=Policy(key="k" * 44))) as running:
        yield running


def test_queues_are_listed_with_what_they_are_declared_with(strict):
    with open_administration(Told(strict.connection_string, None, None)) as client:
        first, second = client.list_queues()
    assert (first.name, first.lock_duration, first.max_delivery_count) == ("a", dt.timedelta(seconds=30), 7)
    assert (first.requires_duplicate_detection, first.requires_session) == (False, False)
    assert (second.name, second.requires_duplicate_detection) == ("b", True)
    assert second.default_message_time_to_live == dt.timedelta(seconds=5)
    assert second.dead_lettering_on_message_expiration is True


def test_a_wrong_key_and_a_missing_role_are_refused(strict):
    wrong = strict.connection_string.replace("k" * 44, "x" * 44)
    with open_administration(Told(wrong, None, None)) as client, pytest.raises(HttpResponseError) as refused:
        list(client.list_queues())
    assert refused.value.status_code == 401
    strict.call(lambda server: server.faults.add(Fault("not-allowed", "administer")))
    with (
        open_administration(Told(strict.connection_string, None, None)) as client,
        pytest.raises(HttpResponseError),
    ):
        list(client.list_queues())
