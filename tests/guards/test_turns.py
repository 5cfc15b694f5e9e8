"""Whoever measures time is alone, and nobody waits for ever."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.chaos.installation import until
from tests.guards.inner import ROOT, run_inner
from tests.guards.turns import LONGEST_FIRST, ONE_BY_ONE, Turns, in_turns, rank, unit, units


@pytest.fixture
def taking(tmp_path):
    """Give a function that waits for a turn on a thread, with files of its own as a process has them."""
    threads = []

    class Taking:
        def __init__(self, *, alone: bool) -> None:
            self.there, self.done = threading.Event(), threading.Event()
            self._thread = threading.Thread(target=self._stay, args=(alone,))
            self._thread.start()
            threads.append(self)

        def _stay(self, alone: bool) -> None:
            turns = Turns(tmp_path)
            with turns.take(alone=alone):
                self.there.set()
                self.done.wait()
            turns.close()

        def leave(self) -> None:
            self.done.set()
            self._thread.join()

    yield Taking
    for each in threads:
        each.done.set()
    for each in threads:
        each.leave()


def waiting(path: Path) -> bool:
    """Tell whether somebody waits for the lock on a file, as the kernel knows it."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_many_are_together(taking):
    for _ in range(3):
        assert taking(alone=False).there.wait(10)


def test_whoever_measures_is_alone(taking, tmp_path):
    # Given one who is there, and one who wants to be alone
    first = taking(alone=False)
    assert first.there.wait(10)
    alone = taking(alone=True)
    until(lambda: waiting(tmp_path / "room"), "it waits")
    # When somebody else comes
    later = taking(alone=False)
    until(lambda: waiting(tmp_path / "door"), "it waits behind")
    assert not alone.there.is_set()
    assert not later.there.is_set()
    # Then they have their turns in the order in which they came
    first.leave()
    assert alone.there.wait(10)
    assert not later.there.is_set()
    alone.leave()
    assert later.there.wait(10)


INNER = """
import time
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range({number}))
{mark}
def test_it(number):
    with Path("log").open("a", buffering=1) as log:
        log.write("begin {name}\\n")
        time.sleep({seconds})
        log.write("end {name}\\n")
"""


def test_a_run_on_two_cores_keeps_to_it(tmp_path):
    # Given a file of tests that measure, and one of many that would run meanwhile
    sources = {
        "test_alone.py": INNER.format(name="alone", number=3, seconds=0.1, mark="@pytest.mark.alone"),
        "test_other.py": INNER.format(name="other", number=30, seconds=0.01, mark=""),
    }
    # When each of them has a worker
    ran = run_inner(tmp_path, "-n2", sources)
    assert ran.returncode == 0, ran.stdout
    # Then nothing begins or ends while one measures
    assert (tmp_path / "log").read_text().count("begin alone\nend alone\n") == 3


def test_what_is_dealt_out_test_by_test_is_there():
    assert [file for file in ONE_BY_ONE if not (ROOT / file).is_file()] == []
    assert {unit(f"{file}::test_a") for file in ONE_BY_ONE} == {f"{file}::test_a" for file in ONE_BY_ONE}
    assert unit("tests/x.py::Test::test_a[b::c]") == "tests/x.py"


def test_what_begins_first_is_there():
    assert [path for path in LONGEST_FIRST if not (ROOT / path).exists()] == []
    assert [rank(f"{path}x") for path in LONGEST_FIRST] == list(range(len(LONGEST_FIRST)))
    assert rank("tests/x.py::test_a") == len(LONGEST_FIRST)


def collected(*node_ids: str, alone: bool = False) -> list[SimpleNamespace]:
    """Stand in for what pytest collects."""
    marker = SimpleNamespace(name="alone") if alone else None
    return [SimpleNamespace(nodeid=each, get_closest_marker=lambda name: marker) for each in node_ids]


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


def test_whoever_measures_comes_last_and_is_dealt_out_apart():
    # Given files of which one test measures, short ones and one that takes long
    measuring = ["tests/a.py::test_b", "tests/acceptance/test_storm.py::test_b"]
    others = ["tests/a.py::test_a", "tests/a.py::test_c", "tests/b.py::test_a"]
    storm = "tests/acceptance/test_storm.py::test_a"
    first, second = (collected(each, alone=True) for each in measuring)
    # When they are put in order
    ordered = [item.nodeid for item in in_turns([*first, *collected(*others, storm), *second])]
    # Then those that measure come after all others
    assert ordered == [storm, *others, *measuring]
    # And a worker that has the rest of their file need not wait with it for them
    dealt = units(ordered)
    assert dealt["tests/a.py::test_a"] == dealt["tests/a.py::test_c"]
    assert len(set(dealt.values())) == 5
