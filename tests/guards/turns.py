"""Tests on several cores: files are dealt out to pytest-xdist's workers, and who measures time is alone.

All tests of a file run on one worker, one after another, so that they share its fixtures. Files whose tests
share nothing are dealt out test by test. What takes long begins first, so that all workers end together;
between two of those, which wait for processes most of their time, comes one of the others. Who measures time
comes last: all others would stand still meanwhile, and before, until the last of them has come to its end.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import IO, Any

import pytest

#: Files whose tests share no fixture, so that each test may run anywhere.
ONE_BY_ONE = {
    "tests/acceptance/test_conversation.py",
    "tests/acceptance/test_crash_matrix.py",
    "tests/acceptance/test_poison.py",
    "tests/acceptance/test_schedules.py",
    "tests/acceptance/test_storm.py",
    "tests/acceptance/test_webhooks.py",
}

#: What begins first, by the beginnings of node ids; everything else follows in its usual order.
LONGEST_FIRST = (
    "tests/api/test_schema.py",
    "tests/api/dashboard/test_browser.py",
    "tests/api/chat/test_browser.py",
    "tests/acceptance/test_storm.py",
    "tests/acceptance/test_crash_matrix.py",
    "tests/acceptance/",
    "tests/releases/test_releases.py",
    "tests/infra/test_program.py",
    "tests/ops/",
)

#: Workers beyond these would only wait for those who want to be alone.
MOST_WORKERS = 8

_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()
_TURNS = pytest.StashKey["Turns"]()


class Turns:
    """Lets one be alone, or any number be together; a lock on files (flock(2)) that processes share.

    Parameters:
      folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._files = ExitStack()
        self._door, self._room = (self._open(folder / name) for name in ("door", "room"))

    def _open(self, path: Path) -> IO[bytes]:
        return self._files.enter_context(path.open("ab"))

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Wait until nobody is there (alone), or nobody who is alone, and stay."""
        # whoever waits to be alone holds the door: those who come later wait behind it, however many
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark; a worker joins the others."""
    config.addinivalue_line("markers", "alone: measures time, so that no other test runs meanwhile")
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_TURNS] = Turns(Path(given["turns"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Say how many workers ``-n auto`` is: more than twice the cores, since tests wait half of their time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # somebody knows better, and pytest-xdist reads it
    return min(2 * len(os.sched_getaffinity(0)) + 1, MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the others are."""
    if _FOLDER not in node.config.stash:
        node.config.stash[_FOLDER] = tempfile.TemporaryDirectory(prefix="turns-")
    node.workerinput["turns"] = node.config.stash[_FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up."""
    if _TURNS in config.stash:
        config.stash[_TURNS].close()
    if _FOLDER in config.stash:
        config.stash[_FOLDER].cleanup()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the workers begin with what takes longest."""
    if _TURNS in config.stash:
        items[:] = in_turns(items)


# around everything else, the timeout of the test too: waiting for one's turn is no fault of the test
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait for the test's turn."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    with turns.take(alone=_is_alone(item)):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out the tests by `units`, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            self._units = units(collection)
            super().add_node_collection(node, collection)

        def _split_scope(self, nodeid: str) -> str:
            return self._units[nodeid]

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def unit(node_id: str) -> str:
    """Name what a test is dealt out with: its file, or only itself."""
    file = node_id.partition("::")[0]
    return node_id if file in ONE_BY_ONE else file


def units(node_ids: Sequence[str]) -> dict[str, str]:
    """Name for each test what it is dealt out with: neighbours of one `unit`, as `in_turns` puts them."""
    grouped = enumerate(groupby(node_ids, unit))
    return {node_id: f"{number} {name}" for number, (name, group) in grouped for node_id in group}


def in_turns(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Order tests: what takes long, between two of its units one of the others; who measures is last."""
    together = [item for item in items if not _is_alone(item)]
    ranked = sorted(together, key=lambda item: rank(item.nodeid))
    dealt = [list(unit_) for _, unit_ in groupby(ranked, lambda item: unit(item.nodeid))]
    long = [each for each in dealt if rank(each[0].nodeid) < len(LONGEST_FIRST)]
    short = dealt[len(long) :]
    mixed = chain.from_iterable(zip_longest(long, short, fillvalue=[]))
    return [*chain.from_iterable(mixed), *filter(_is_alone, items)]


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def rank(node_id: str) -> int:
    """Give a test's place in `LONGEST_FIRST`."""
    matching = (place for place, start in enumerate(LONGEST_FIRST) if node_id.startswith(start))
    return next(matching, len(LONGEST_FIRST))
