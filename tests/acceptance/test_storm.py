"""Events while worker, clock, ingress and emulators are killed: nothing lost, nothing twice, all in order."""

from collections import Counter

import pytest

from ops.chaos.__main__ import run_storm

pytestmark = pytest.mark.timeout(300)

#: How often each process dies at least, however fast the machine is.
DEATHS = 2


@pytest.mark.parametrize(
    ("store", "broker", "seed", "delete_queue", "events"),
    [
        ("sqlite", "sqlite", 1, False, 400),
        ("sqlite", "sqlite", 2, True, 400),
        ("sqlite", "servicebus", 5, True, 400),
        ("cosmos", "sqlite", 3, True, 200),
        ("cosmos", "servicebus", 4, False, 200),
        pytest.param("sqlite", "sqlite", 1, False, 2000, marks=pytest.mark.chaos),
        pytest.param("sqlite", "sqlite", 2, True, 2000, marks=pytest.mark.chaos),
    ],
)
def test_no_event_is_lost_or_answered_twice_in_a_storm(tmp_path, store, broker, seed, delete_queue, events):
    # Given a fresh installation, and servers of model and webhooks that outlive it
    # When events are posted under random SIGKILL (and with the queue lost)
    verdict = run_storm(
        tmp_path,
        store=store,
        queue=broker,
        events=events,
        seed=seed,
        delete_queue=delete_queue,
        deaths=DEATHS + 1,  # the last of them may come after the last event
    )
    # Then, judged from outside, every accepted event has its one answer, or was posted to its webhook
    assert verdict.problems == [], verdict.summary()
    assert len(verdict.accepted) == events
    # And each of web, two workers, clock, and the emulators that there are, was killed again and again
    deaths = Counter(verdict.killed)
    assert len(deaths) == 4 + [store, broker].count("cosmos") + [store, broker].count("servicebus")
    assert min(deaths.values()) >= DEATHS, "too few kills to prove anything"
