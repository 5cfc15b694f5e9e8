"""The comparison of brokers: what it measures is so, and what it cannot measure it says."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ops.bench.brokers import readme
from ops.bench.brokers.catalogue import SYSTEMS
from ops.bench.brokers.compare import compare, write
from ops.bench.brokers.crew import WARM_UP, steady_rate
from ops.bench.brokers.measure import Amounts, Measured
from ops.bench.brokers.report import begin, notes
from ops.bench.brokers.sightings import Reader, Sightings, make_room
from ops.bench.brokers.verdict import verdicts

SYSTEM = {system.key: system for system in SYSTEMS}

#: Little, and with more time than any machine needs.
TINY = Amounts(100, 20, 2, 20, 30, 1, system_seconds=100, all_seconds=110)

FOUND = Measured(10, 3000.0, 9000.0, 1.5, 30.0, 100.0, 0.25, 5, 700.0, 0, 0, "")


@pytest.fixture(scope="module")
def run():
    systems = [
        SYSTEM["stub"],
        SYSTEM["sqlite"],
        SYSTEM["servicebus-32"],
        replace(SYSTEM["dramatiq-redis"], programs=("no-such-server",)),
        replace(SYSTEM["celery-redis"], programs=(), packages=("no_such_package",)),
        replace(SYSTEM["taskiq-servicebus"], driver="no_such_driver", start=None, packages=()),
    ]
    return compare(systems, TINY, lambda _line: None)


@pytest.mark.parametrize("key", ["stub", "sqlite", "servicebus-32"])
def test_no_message_is_lost_and_none_doubled(run, key):
    found = run.outcomes[key]
    assert isinstance(found, Measured), found
    assert (found.lost, found.doubled, found.refused) == (0, 0, "")
    assert found.sent == WARM_UP + TINY.messages + 2 + TINY.idle
    assert found.steps == WARM_UP + TINY.steps
    assert found.enqueued_per_second > 0
    assert found.drained_per_second > 0
    assert found.steps_per_second > 0
    assert found.cpu_us_per_message > 0
    assert 0 < found.idle_p50_ms <= found.idle_p99_ms


def test_what_cannot_be_measured_is_named_with_its_reason(run):
    assert "no-such-server; on Debian: apt-get install" in run.outcomes["dramatiq-redis"]
    assert "no_such_package; run: make bench-brokers" in run.outcomes["celery-redis"]
    assert "ModuleNotFoundError" in run.outcomes["taskiq-servicebus"]
    assert "Celery, Redis: not installed" in notes(run)


def test_a_run_is_written_in_every_form(run, tmp_path):
    write(run, tmp_path)

    document = json.loads((tmp_path / "brokers.json").read_bytes())
    assert document["systems"]["sqlite"]["drained_per_second"] == run.outcomes["sqlite"].drained_per_second
    assert document["systems"]["celery-redis"]["missing"] == run.outcomes["celery-redis"]
    judged = [each["reached"] is not None for each in document["verdicts"]]
    assert judged == [False, True, True, True, True, False]
    table = (tmp_path / "brokers.md").read_text()
    assert table.count("\n| Dramatiq, stub") == table.count("\n| Lightning, SQLite |") == 1
    texts = [each.text for each in ET.parse(tmp_path / "brokers.svg").iter() if each.text]
    assert texts.count("Lightning, SQLite") == 2


def test_the_readme_has_a_place_for_a_run(run, tmp_path):
    # Given the README of this repository
    here = Path(__file__).parents[2]
    before = (here / "README.md").read_text()
    (tmp_path / "README.md").write_text(before)
    (tmp_path / readme.CHART).parent.mkdir(parents=True)

    # When a run is written into it
    readme.write(run, tmp_path)

    # Then only that place has changed
    after = (tmp_path / "README.md").read_text()
    cut = [text.partition(readme.BEGIN)[0] + text.partition(readme.END)[2] for text in (before, after)]
    assert cut[0] == cut[1]
    assert run.at[:10] in after
    assert (tmp_path / readme.CHART).exists()


def test_figures_are_judged():
    outcomes = {
        "sqlite": FOUND,
        "dramatiq-redis": replace(FOUND, drained_per_second=2900.0),
        "stub": replace(FOUND, drained_per_second=30_000.0),
        "servicebus-5": replace(FOUND, idle_p99_ms=65.5),
        "servicebus-32": "it did not start",
    }
    assert [each.reached for each in verdicts(outcomes)] == [True, False, True, None, None, False]
    assert "up to 25% of the processors meanwhile. The figures say little" in notes(begin(outcomes))
    assert "NOT reached: SQLite drains at least 40 % of Dramatiq's own ceiling: 30%" in notes(begin(outcomes))


def test_the_rate_is_that_of_all_processes_together():
    # Given one process that began a second late: 10 messages alone, then 100 a second by both
    alone = [(0, (number, 1_000_000_000 + number * 100_000_000)) for number in range(10)]
    both = [(number % 2, (10 + number, 2_000_000_000 + number * 10_000_000)) for number in range(1, 201)]
    assert steady_rate(alone + both) == pytest.approx(100)


def test_sightings_are_read_once_and_outlive_their_process(tmp_path):
    path = tmp_path / "seen"
    make_room(path)
    reader = Reader([path])
    Sightings(path).note(0)
    assert [number for _, (number, _) in reader.poll()] == [0]

    # When another process goes on in the same file
    Sightings(path).note(7)

    assert [number for _, (number, _) in reader.poll()] == [7]
    reader.close()
