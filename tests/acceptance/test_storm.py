"""2,000 events while worker, clock and ingress are killed: nothing lost, nothing twice, all in order."""

import pytest

from ops.chaos.__main__ import run_storm

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(("seed", "delete_queue"), [(1, False), (2, True)])
def test_no_event_is_lost_or_answered_twice_in_a_storm(tmp_path, seed, delete_queue):
    # Given a fresh installation and a model server that outlives it
    # When 2,000 events are posted under random SIGKILL (and once with the queue file deleted)
    verdict = run_storm(tmp_path, events=2000, seed=seed, delete_queue=delete_queue)
    # Then, judged from outside, every accepted event has its one answer
    assert verdict.problems == [], verdict.summary()
    assert len(verdict.accepted) == 2000
    assert len(verdict.killed) >= 3, "too few kills to prove anything"
