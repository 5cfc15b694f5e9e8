"""Events while worker, clock, ingress and emulators are killed: nothing lost, nothing twice, all in order."""

import pytest

from ops.chaos.__main__ import run_storm

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("store", "broker", "seed", "delete_queue", "events"),
    [
        ("sqlite", "sqlite", 1, False, 2000),
        ("sqlite", "sqlite", 2, True, 2000),
        ("sqlite", "servicebus", 5, True, 400),
        ("cosmos", "sqlite", 3, True, 200),
        ("cosmos", "servicebus", 4, False, 200),
    ],
)
def test_no_event_is_lost_or_answered_twice_in_a_storm(tmp_path, store, broker, seed, delete_queue, events):
    # Given a fresh installation, and servers of model and webhooks that outlive it
    # When events are posted under random SIGKILL (and with the queue lost)
    verdict = run_storm(
        tmp_path, store=store, queue=broker, events=events, seed=seed, delete_queue=delete_queue
    )
    # Then, judged from outside, every accepted event has its one answer, or was posted to its webhook
    assert verdict.problems == [], verdict.summary()
    assert len(verdict.accepted) == events
    assert len(verdict.killed) >= 3, "too few kills to prove anything"
