"""What takes long begins first, and who shares fixtures stays together."""

from types import SimpleNamespace

from tests.guards.inner import ROOT
from tests.guards.turns import (
    LONGEST_FIRST,
    ONE_BY_ONE,
    WAITING,
    choice,
    in_turns,
    is_for_waiting,
    rank,
    unit,
)


def test_what_is_dealt_out_test_by_test_is_there():
    assert [file for file in ONE_BY_ONE if not (ROOT / file).is_file()] == []
    assert {unit(f"{file}::test_a") for file in ONE_BY_ONE} == {f"{file}::test_a" for file in ONE_BY_ONE}
    assert unit("tests/x.py::Test::test_a[b::c]") == "tests/x.py"


def test_what_begins_first_is_there():
    assert [path for path in LONGEST_FIRST if not (ROOT / path).exists()] == []
    assert [rank(f"{path}x") for path in LONGEST_FIRST] == list(range(len(LONGEST_FIRST)))
    assert rank("tests/x.py::test_a") == len(LONGEST_FIRST)


def collected(*node_ids: str) -> list[SimpleNamespace]:
    """Stand in for what pytest collects."""
    return [SimpleNamespace(nodeid=each) for each in node_ids]


def test_what_takes_long_is_mixed_with_the_rest():
    storms = [f"tests/acceptance/test_storm.py::test_a[{n}]" for n in range(3)]
    short = ["tests/a.py::test_a", "tests/a.py::test_b", "tests/b.py::test_a"]
    # When tests are put in order, then a file of short ones stays together between two that take long
    assert [item.nodeid for item in in_turns(collected(*short, *storms))] == [
        storms[0],
        *short[:2],
        storms[1],
        short[2],
        storms[2],
    ]


def test_what_waits_is_there():
    assert [start for start in WAITING if not list(ROOT.glob(f"{start}*"))] == []


def test_what_waits_has_a_worker_of_its_own():
    # Given units of which two wait
    units = ["tests/a.py", "tests/acceptance/test_outage.py", "tests/c.py", f"{WAITING[0]}::test_d"]
    # Then each worker takes the first of its kind
    assert choice(units, waiting=False) == units[0]
    assert choice(units[1:], waiting=False) == units[2]
    assert choice(units, waiting=True) == units[1]
    # And whatever is left, when there is none
    assert choice(units[3:], waiting=False) == units[3]
    assert choice(units[:1], waiting=True) == units[0]


def test_the_last_of_several_workers_has_what_waits():
    def lasts(count: int) -> list[bool]:
        each = ({"workerid": f"gw{n}", "workercount": count} for n in range(count))
        return [is_for_waiting(SimpleNamespace(workerinput=one)) for one in each]

    assert lasts(6) == [False] * 5 + [True]
    assert lasts(3) == [False] * 2 + [True]
    assert lasts(2) == [False] * 2
