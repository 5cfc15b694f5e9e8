"""A storm over the broker: forced closes, throttling, lost locks and SIGKILL, and no message is lost."""

import pytest

from ops.chaos.servicebus import Verdict, judge, storm

pytestmark = pytest.mark.timeout(300)


def test_no_message_is_lost_in_a_storm(tmp_path):
    # When messages are sent while everything goes wrong that can; `make chaos` sends more, and for longer
    verdict = storm(tmp_path, messages=5_000, seconds=0, seed=1, pause=(0.3, 1.5))

    # Then every message has run, and none was given up
    print(verdict.summary())
    assert verdict.problems == []


def test_the_verdict_names_what_was_lost():
    verdict = Verdict(4)
    judge(verdict, [0, 1, 1, 7], dead=1)
    assert verdict.again == 1
    assert verdict.problems == [
        "2 messages were lost, such as 2",
        "1 messages were never sent, such as 7",
        "1 messages were given up",
    ]
    assert "FAILED: 2 messages were lost" in verdict.summary()
