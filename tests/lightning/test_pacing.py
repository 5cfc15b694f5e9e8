"""A line: nobody is sent to the same moment as somebody else."""

from itertools import pairwise

import pytest

from lightning.pacing import Line, Lines


def line(*, most=1000.0, randomness=0.5) -> Line:
    return Line(2.0, most, randomness=lambda: randomness)


def test_who_asks_is_sent_behind_who_asked_before():
    waiting = line()
    assert [waiting.wait(100.0) for _ in range(4)] == [2, 4, 6, 8]
    # and the line grows shorter with time
    assert waiting.wait(107.0) == 3


def test_nobody_comes_before_the_moment_they_name():
    waiting = line()
    assert [waiting.wait(100.0, 60.0) for _ in range(2)] == [62, 64]
    assert waiting.wait(1000.0, 5.0) == 7


@pytest.mark.parametrize(("randomness", "apart"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_chance_decides_how_far_apart(randomness, apart):
    waiting = line(randomness=randomness)
    waits = [waiting.wait(100.0) for _ in range(10)]
    assert {second - first for first, second in pairwise(waits)} == {apart}


def test_nobody_waits_longer_than_the_most_or_than_they_must():
    waiting = line(most=10.0)
    assert [waiting.wait(100.0) for _ in range(20)][-1] == 10
    assert waiting.wait(100.0, 60.0) == 60


def test_lines_of_two_processes_differ():
    one, two = Line(2.0, 1000.0), Line(2.0, 1000.0)
    assert [one.wait(0.0) for _ in range(10)] != [two.wait(0.0) for _ in range(10)]


class TestLines:
    def lines(self, *, shared: bool = False) -> Lines:
        return Lines(2.0, 1000.0, most_lines=3, shared=shared, randomness=lambda: 0.5)

    def test_nobody_waits_for_how_many_are_in_another_line(self):
        lines = self.lines()
        assert [lines.wait("a", 100.0) for _ in range(100)][-1] == 200
        assert [lines.wait("b", 100.0) for _ in range(2)] == [2, 4]

    def test_lines_that_share_go_slower_together_while_somebody_is_in_them(self):
        lines = self.lines(shared=True)
        assert [lines.wait("a", 100.0) for _ in range(2)] == [2, 4]
        assert [lines.wait("b", 100.0) for _ in range(2)] == [4, 8]
        assert lines.wait("a", 100.0) == 8
        # When one of them is empty, the other is alone again
        assert lines.wait("a", 108.0) == 2

    def test_of_too_many_the_shortest_is_forgotten(self):
        lines = self.lines()
        for name in ("a", "b", "b", "c", "c", "d"):
            lines.wait(name, 100.0)
        assert len(lines) == 3
        assert [name in lines for name in "abcd"] == [False, True, True, True]
