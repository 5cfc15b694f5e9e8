"""Tests on several cores: files are dealt out to pytest-xdist's workers, what takes long first.

All tests of a file run on one worker, one after another, so that they share its fixtures. Files whose tests
share nothing are dealt out test by test. What takes long begins first, so that all workers end together;
between two of those, which wait for processes most of their time, comes one of the others. What does next to
nothing but wait has a worker of its own, beside those that keep the cores busy.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import chain, groupby, zip_longest
from typing import Any

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
    "tests/ops/test_bench.py",
    "tests/acceptance/test_storm.py",
    "tests/acceptance/test_crash_matrix.py",
    "tests/acceptance/",
    "tests/brokers/test_servicebus_faults.py",
    "tests/ops/servicebus/",
    "tests/lightning/telemetry/",
    "tests/releases/test_releases.py",
    "tests/infra/test_program.py",
    "tests/ops/",
    "tests/worker/",
)

#: What waits for most of its time, by the beginnings of units: as much as one worker does while the others
#: do the rest.
WAITING = (
    "tests/acceptance/test_crash_matrix.py",
    "tests/acceptance/test_outage.py",
    "tests/acceptance/test_tasks",
    "tests/actors/test_task_",
)

#: However many cores there are: each worker has memory, and servers, of its own.
MOST_WORKERS = 8


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Say how many workers ``-n auto`` is.

    More than twice the cores, since tests wait half of their time, and one for those that only wait.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # somebody knows better, and pytest-xdist reads it
    return min(2 * len(os.sched_getaffinity(0)) + 2, MOST_WORKERS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the workers begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items[:] = in_turns(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out the tests by `unit`, in their order, and to the last worker what waits."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            self.workqueue.move_to_end(choice(self.workqueue, waiting=is_for_waiting(node)), last=False)
            super()._assign_work_unit(node)

        def _reschedule(self, node: Any) -> None:
            if is_for_waiting(node) and not node.shutting_down and not any(map(waits, self.workqueue)):
                node.shutdown()  # it ends what it has been given
            else:
                super()._reschedule(node)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def is_for_waiting(node: Any) -> bool:
    """Tell the worker that has what waits: the last one, where there are several others."""
    count = node.workerinput["workercount"]
    return count > 2 and node.workerinput["workerid"] == f"gw{count - 1}"


def choice(units: Iterable[str], *, waiting: bool) -> str:
    """Choose the next unit of a worker: the first of its kind, or the first one where there is none."""
    first, *others = units
    return next((each for each in (first, *others) if waits(each) is waiting), first)


def waits(unit_: str) -> bool:
    """Tell what does next to nothing but wait."""
    return unit_.startswith(WAITING)


def unit(node_id: str) -> str:
    """Name what a test is dealt out with: its file, or only itself."""
    file = node_id.partition("::")[0]
    return node_id if file in ONE_BY_ONE else file


def in_turns(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Order tests: what takes long, between two of its units one of the others."""
    ranked = sorted(items, key=lambda item: rank(item.nodeid))
    dealt = [list(unit_) for _, unit_ in groupby(ranked, lambda item: unit(item.nodeid))]
    long = [each for each in dealt if rank(each[0].nodeid) < len(LONGEST_FIRST)]
    short = dealt[len(long) :]
    mixed = chain.from_iterable(zip_longest(long, short, fillvalue=[]))
    return list(chain.from_iterable(mixed))


def rank(node_id: str) -> int:
    """Give a test's place in `LONGEST_FIRST`."""
    matching = (place for place, start in enumerate(LONGEST_FIRST) if node_id.startswith(start))
    return next(matching, len(LONGEST_FIRST))
