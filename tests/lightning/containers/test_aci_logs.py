"""Offsets over a log of which only the end is given."""

from lightning.containers.aci_logs import KEPT_RUNS, LogWindows

LINES = b"".join(b"line %06d\n" % n for n in range(3_000))
CUT = LINES[-16 * 1024 :]


def test_a_log_that_grows_is_read_in_portions():
    windows = LogWindows()
    first = windows.portion("run", b"abc", 0, 2)
    assert (first.data, first.since, first.next) == (b"ab", 0, 2)
    rest = windows.portion("run", b"abcdef", 2, 100)
    assert (rest.data, rest.since, rest.next) == (b"cdef", 2, 6)
    assert windows.portion("run", b"abcdef", 6, 100).data == b""


def test_a_log_that_is_cut_goes_on_where_reading_ended():
    windows = LogWindows()
    read = windows.portion("run", LINES[:30_000], 0, 30_000)
    rest = windows.portion("run", CUT, read.next, 100_000)
    assert (rest.since, read.data + rest.data) == (30_000, LINES)
    assert windows.portion("run", CUT, rest.next, 100_000).data == b""


def test_a_log_that_is_cut_within_what_was_read_goes_on_behind_it():
    windows = LogWindows()
    there = len(LINES) - len(CUT) + 100
    windows.portion("run", LINES[:there], 0, there)
    rest = windows.portion("run", CUT, there, 100_000)
    assert (rest.since, rest.data) == (there, CUT[100:])


def test_what_was_lost_between_shows_in_the_offset():
    windows = LogWindows()
    windows.portion("run", LINES[:1_000], 0, 1_000)
    rest = windows.portion("run", CUT, 1_000, 100_000)
    assert (rest.data, rest.since) == (CUT, 1_001)
    assert windows.portion("run", CUT, rest.next, 100_000).data == b""


def test_another_process_reads_some_again_rather_than_less():
    windows = LogWindows()
    rest = windows.portion("run", CUT, 30_000, 100_000)
    assert (rest.data, rest.since) == (CUT, 30_000)
    assert windows.portion("run", CUT, rest.next, 100_000).data == b""


def test_what_comes_in_the_same_words_again_is_not_taken_for_what_was_read():
    windows = LogWindows()
    read = windows.portion("run", b"a\na\n", 0, 2)
    assert windows.portion("run", b"a\na\n", read.next, 100).data == b"a\n"


def test_runs_that_nobody_removes_are_forgotten_in_the_end():
    windows = LogWindows()
    for number in range(KEPT_RUNS + 5):
        windows.portion(f"run-{number}", b"x", 0, 1)
    assert len(windows._marks) == KEPT_RUNS
    windows.forget("run-900")
    windows.forget("never")
    assert len(windows._marks) == KEPT_RUNS - 1
