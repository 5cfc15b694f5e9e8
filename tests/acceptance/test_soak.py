"""The soak, for a moment: that it runs, and that it notices a process that grows or dies."""

import pytest

from ops.chaos.soak import Memory, soak


def test_a_short_soak(tmp_path):
    # When events are posted at a steady rate for a moment
    problems, figures = soak(tmp_path / "data", seconds=2, rate=25)
    # Then all are over, and the memory of every process was seen
    assert problems == []
    assert figures.startswith("50 events")
    assert all(name in figures for name in ("web", "worker.0", "clock"))


@pytest.mark.parametrize(
    ("looks", "grew"),
    [
        ([60.0] * 12, False),
        ([60.0, 80.0, 90.0, *[100.0] * 9], False),  # it grows while it is new
        ([60.0 + n for n in range(24)], True),
    ],
)
def test_growth_is_noticed(looks, grew):
    memory = Memory({"web": 1}, {"web": looks})
    assert bool(memory.problems()) == grew
