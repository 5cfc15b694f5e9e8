"""The alerts, over what the real exporter sent under the product's names: of installations well and ill."""

import os
import re
import subprocess
import sys

import pytest

from lightning.telemetry import names
from ops.azure.rules import ALERTS, QUERIES
from ops.emulators.monitor import MonitorEmulator
from tests.architecture.tree import ROOT, source_files
from tests.kusto import FOLDER, fires, loaded, rows

BY_NAME = {alert.name: alert for alert in ALERTS}
INGRESS = {"workers-silent", "ingress-errors", "no-telemetry"}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The files of three installations: one that is well, one whose worker is ill, one whose ingress is."""
    folder = tmp_path_factory.mktemp("alerts")
    places = {name: folder / name for name in ("quiet", "worker", "web")}
    emulators = {name: MonitorEmulator(data=place) for name, place in places.items()}
    for emulator in emulators.values():
        emulator.start()
    of = {name: emulator.connection_string for name, emulator in emulators.items()}
    scenes = {
        "quiet-web": of["quiet"],
        "quiet-worker": of["quiet"],
        "ill-worker": of["worker"],
        "ill-web": of["web"],
    }
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.ops.monitor.scenes",
            folder,
            *(each for pair in scenes.items() for each in pair),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        timeout=100,
        check=True,
    )
    yield {name: place / "telemetry.db" for name, place in places.items()}
    for emulator in emulators.values():
        emulator.stop()


def firing(file) -> set[str]:
    found = set()
    for alert in ALERTS:
        with loaded(file, alert.window) as tables:
            if fires(tables, alert):
                found.add(alert.name)
    return found


def test_nobody_is_woken_where_all_is_well(told):
    assert firing(told["quiet"]) == set()


def test_each_trouble_of_a_worker_is_told(told):
    assert firing(told["worker"]) == BY_NAME.keys() - INGRESS


def test_an_ingress_that_is_alone_and_fails_is_told(told):
    assert firing(told["web"]) == INGRESS


def test_an_alert_says_what_it_is_about(told):
    def answer(name):
        with loaded(told["worker"], BY_NAME[name].window) as tables:
            return rows(tables, BY_NAME[name].query())

    [dead] = answer("dead-events")
    assert (dead["code"], dead["type"], dead["events"], dead["users"]) == (
        "model_refused",
        "llm.chat",
        1,
        1,
    )
    [lag] = answer("queue-lag")
    assert (lag["type"], lag["waitedSeconds"] >= 60, lag["events"]) == ("llm.chat", True, 1)
    [storm] = answer("retry-storm")
    assert (storm["actor"], storm["code"], storm["events"]) == ("chat", "store_unavailable", 10)
    [rising] = answer("failures-rising")
    assert (rising["code"], rising["recent"], rising["before"]) == ("model_unavailable", 25, 1)
    [failing] = answer("container-failures")
    assert (failing["agent"], failing["runs"], failing["failed"]) == ("echo", 8, 6)
    [missed] = answer("missed-ticks")
    assert (missed["schedule"], missed["missed"]) == ("hourly", 4)
    [spent] = answer("token-spending")
    assert (spent["model"], spent["tokens"]) == ("gpt-4o", 6_100_000)


def test_what_queries_look_for_is_written_by_the_product():
    source = "\n".join(path.read_text() for path in source_files())
    known = {value for value in vars(names).values() if isinstance(value, str)} | names.CUSTOM_EVENTS
    for path in (*FOLDER.glob("*.kql"), *QUERIES.glob("*.kql")):
        query = path.read_text()
        looked_for = set(re.findall(r'"((?:lightning|gen_ai)\.[\w.]+)"', query))
        assert looked_for <= known, path.name
        if "customEvents" in query:
            [event] = re.findall(r'name == "(\w+)"', query)
            assert event in names.CUSTOM_EVENTS
            assert re.search(rf'_log\.\w+\(\s*"{event}"', source), (path.name, event)
        for listed in re.findall(r"message (?:==|in) \(?([^)\n]*)", query):
            for record in re.findall(r'"(\w+)"', listed):
                assert re.search(rf'_log\.\w+\(\s*"{record}"', source), (path.name, record)
    assert re.search(r'_log\.info\("swept", events=', source)
