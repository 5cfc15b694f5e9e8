"""Where the acceptance tests of a module run, one after the other: each pair of a queue and a store.

`make test` runs on Azure's services what depends on them most, `make chaos` everything everywhere.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ops.chaos.queues import LOCK_SECONDS, EmulatedServiceBus, FileQueue, QueueServer
from tests.stores import on_cosmos

#: The store and the queue of each place; Azure's own are emulated.
PLACES = {
    "sqlite": ("sqlite", "sqlite"),
    "servicebus": ("sqlite", "servicebus"),
    "cosmos": ("cosmos", "sqlite"),
    "azure": ("cosmos", "servicebus"),
}

#: Tests that run in these places in `make test` too, by parts of their names; "" is all of a module.
IN_EVERY_RUN = {
    "servicebus": {
        "test_conversation": "",
        "test_crash_matrix": "enqueue:after enqueue:before ack:before redelivery_alone second_chain",
        "test_poison": "raise loop",
        "test_streaming": "begins_its_trace",
        "test_up": "remembers in_turn busy killed_in_the_middle survives_the_loss no_secret",
        "test_webhooks": "dies_behind_the_post",
    },
    "cosmos": {
        "test_conversation": "forgotten",
        "test_crash_matrix": "web/accept:recorded sweep_and_redelivery[cosmos-worker/step:committed "
        "stood_still etags",
    },
    "azure": {
        "test_canaries": "",
        "test_one_trace": "",
        "test_emulate_azure": "",
        "test_up": "remembers in_turn killed_in_the_middle survives_the_loss no_secret owner_only",
    },
}

current: QueueServer = FileQueue()

#: Whether an installation is one of `lightning up --emulate-azure`, where the command is what is tested.
emulated_azure = False


@pytest.fixture(scope="module", params=list(PLACES))
def queue(request: pytest.FixtureRequest) -> Iterator[QueueServer]:
    """Run the tests of a module in each place; those that ask for `settings_of` have its store.

    A module may say how long a lock of Service Bus lasts (`LOCK_SECONDS`).
    """
    global current, emulated_azure  # noqa: PLW0603 -- helpers start installations without being told
    store, kind = PLACES[request.param]
    before = current
    with ExitStack() as stack:
        if store == "cosmos":
            request.getfixturevalue("cosmos_emulator")
            stack.enter_context(on_cosmos())
        if kind == "servicebus":
            seconds = getattr(request.module, "LOCK_SECONDS", LOCK_SECONDS)
            current = stack.enter_context(EmulatedServiceBus(seconds))
        emulated_azure = request.param == "azure"
        yield current
        current, emulated_azure = before, False


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "chaos: takes too long for every change; only `make chaos` runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make chaos` runs."""
    left_out = [] if config.getoption("--chaos") else [item for item in items if _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    if item.get_closest_marker("chaos") is not None:
        return True
    place = item.callspec.params.get("queue", "sqlite") if hasattr(item, "callspec") else "sqlite"
    if place == "sqlite":
        return False
    names = IN_EVERY_RUN[place].get(item.path.stem)
    return names is None or (bool(names) and not any(name in item.name for name in names.split()))
