"""The span store's file: shared, bounded, and never in the application's way."""

import fcntl
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from lightning.telemetry import names, spans
from lightning.telemetry.cleaning import MAX_TEXT_LENGTH, Cleaner
from lightning.telemetry.exporter import SpanStoreExporter
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import SpanStore

CANARY = "canary-3f9d1c77"


@pytest.fixture
def tracer(store):
    provider = TracerProvider(resource=Resource({"service.name": "api"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SpanStoreExporter(store, Cleaner(Redactor([CANARY])))))
    return provider.get_tracer("test")


def file_bytes(store: SpanStore) -> bytes:
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir())


def test_what_is_stored_comes_back(store, make_span):
    stored = [
        make_span("first", attributes={names.EVENT: "e-1", "n": 1.5, "list": ["a", True, None]}),
        make_span(
            "second",
            parent_id="b" * 16,
            status="error",
            status_message="bad",
            events=[{"name": "x", "time_ns": 1, "attributes": {}}],
            links=[{"trace_id": "c" * 32, "span_id": "d" * 16, "attributes": {"a": 1}}],
        ),
    ]
    store.add(reversed(stored))
    assert store.trace("a" * 32) == stored
    assert store.trace("f" * 32) == []


def test_reading_makes_no_file(store):
    assert (store.trace("a" * 32), store.traces_of_event("e"), store.prune()) == ([], [], 0)
    assert not store.path.exists()


def test_a_span_that_arrives_twice_is_kept_once(store, make_span):
    span = make_span()
    store.add([span])
    store.add([span, make_span("other")])
    assert [found.name for found in store.trace("a" * 32)] == ["work", "other"]


def test_the_traces_of_an_event_are_found_earliest_first(store, make_span):
    of_event = {"attributes": {names.EVENT: "e-1"}}
    store.add(
        [
            make_span(trace_id="c" * 32, start_ns=1, **of_event),
            make_span(trace_id="b" * 32, start_ns=5, **of_event),
            make_span(trace_id="b" * 32, start_ns=0),
            make_span(trace_id="b" * 32, start_ns=2, **of_event),
            make_span(trace_id="d" * 32, start_ns=3, attributes={names.EVENT: "e-2"}),
        ]
    )
    assert store.traces_of_event("e-1") == ["c" * 32, "b" * 32]
    assert store.traces_of_event("e-3") == []


def test_both_reads_use_an_index(store, make_span):
    store.add([make_span()])
    connection = sqlite3.connect(store.path)
    for statement in (spans._TRACE, spans._TRACES_OF_EVENT):
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("x",)))
        assert "SCAN" not in plan
    connection.close()


def test_pruning_keeps_the_latest(store, make_span):
    store.add(make_span(str(number)) for number in range(10))
    assert store.prune(3) == 7
    assert [span.name for span in store.trace("a" * 32)] == ["7", "8", "9"]
    assert store.prune(3) == 0


def test_the_store_prunes_itself(tmp_path, make_span, monkeypatch):
    monkeypatch.setattr(spans, "PRUNE_EVERY_SPANS", 10)
    store = SpanStore(tmp_path / "spans.sqlite", max_spans=20)
    for _ in range(50):
        store.add([make_span(), make_span(), make_span()])
    assert 20 <= len(store.trace("a" * 32)) <= 20 + 12
    store.close()


@pytest.mark.parametrize("awkward", ["\ud800", "a\x00b", 2**70, float("nan"), b"\xff"])
def test_awkward_values_do_not_cost_the_batch(store, make_span, awkward):
    name = awkward if isinstance(awkward, str) else "name"
    store.add([make_span(name, attributes={"x": awkward, names.EVENT: str(awkward)}), make_span("other")])
    assert len(store.trace("a" * 32)) == 2


def test_only_the_owner_may_read_it(store, make_span):
    store.add([make_span()])
    assert {path.stat().st_mode & 0o077 for path in store.path.parent.glob("spans.sqlite-*")} == {0}
    assert store.path.stat().st_mode & 0o777 == 0o600


WRITER = """
import sys
from pathlib import Path
from lightning.telemetry.setup import configure
from opentelemetry import trace

path, number = Path(sys.argv[1]), int(sys.argv[2])
telemetry = configure(service_name=f"writer-{number}", span_path=path, log_format="json", log_level="info")
tracer = trace.get_tracer("writer")
sys.stdin.readline()
for count in range(2000):
    tracer.start_span("work", attributes={"lightning.event": "shared"}).end()
telemetry.shutdown()
"""


def test_processes_write_one_file_at_the_same_time(tmp_path):
    # Given two processes, ready to begin at once with a file that does not exist
    path = tmp_path / "new" / "spans.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")

    # Then no span of either is lost
    store = SpanStore(path)
    connection = sqlite3.connect(path)
    counts = dict(connection.execute("SELECT process, count(*) FROM spans GROUP BY process"))
    connection.close()
    assert counts == {f"writer-{number}:{writer.pid}": 2000 for number, writer in enumerate(writers)}
    assert len(store.traces_of_event("shared")) == 4000


def test_many_stores_begin_with_no_file_at_once(tmp_path, make_span):
    stores = [SpanStore(tmp_path / "spans.sqlite") for _ in range(8)]
    batches = [[make_span() for _ in range(20)] for _ in stores]
    ready = threading.Barrier(len(stores))
    failures: list[Exception] = []

    def write(store: SpanStore, batch: list[spans.Span]) -> None:
        ready.wait(timeout=5)
        try:
            for span in batch:
                store.add([span])
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=write, args=pair, daemon=True) for pair in zip(stores, batches, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert failures == []
    assert len(stores[0].trace("a" * 32)) == 160
    for store in stores:
        store.close()


@pytest.mark.parametrize("suffixes", [[""], ["", "-wal", "-shm"], ["", "-wal", "-shm", ".lock"]])
def test_a_deleted_file_comes_back_for_all_its_writers(store, make_span, suffixes):
    # Given a file that two have open
    other = SpanStore(store.path)
    store.add([make_span("lost")])
    other.add([make_span("lost")])

    # When somebody deletes it, with or without its side files
    for suffix in suffixes:
        store.path.with_name(store.path.name + suffix).unlink()
    store.add([make_span("one")])
    other.add([make_span("two")])

    # Then what comes later is stored
    assert [span.name for span in store.trace("a" * 32)] == ["one", "two"]
    other.close()
    store.add([make_span("three")])
    assert [span.name for span in SpanStore(store.path).trace("a" * 32)] == ["one", "two", "three"]


HOLDER = """
import sys
from pathlib import Path
from lightning.telemetry.spans import Span, SpanStore

store = SpanStore(Path(sys.argv[1]))
for name in ("lost", "two"):
    store.add([Span("a" * 32, name, None, name, "internal", 1, 2)])
    print(name, flush=True)
    sys.stdin.readline()
store.close()
"""


def test_a_file_deleted_while_another_process_holds_it_is_made_anew(store, make_span):
    # Given a file that another process has open
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOLDER, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "lost\n"

        # When it is deleted without its side files, which that process still uses
        store.path.unlink()
        store.add([make_span("one")])

        # Then both processes meet in the new one
        holder.communicate("\n\n", timeout=20)
    assert holder.returncode == 0
    assert {span.name for span in store.trace("a" * 32)} == {"one", "two"}


def test_one_at_a_time_makes_the_file(store, make_span):
    # Given another process that is making the file
    done = threading.Event()
    thread = threading.Thread(target=lambda: (store.add([make_span()]), done.set()), daemon=True)
    with store.path.with_name("spans.sqlite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        assert not done.wait(0.2)
        assert not store.path.exists()
    # Then this one follows when that is done
    assert done.wait(5)
    thread.join()


GARBAGE = b"not a database, but somebody's text. " * 500


def test_a_file_that_is_no_database_is_set_aside(store, tracer):
    store.path.write_bytes(GARBAGE)

    tracer.start_span("kept", attributes={names.EVENT: "e"}).end()

    assert len(store.traces_of_event("e")) == 1
    assert store.path.with_name("spans.sqlite.damaged").read_bytes() == GARBAGE


def test_a_file_damaged_under_its_writer_costs_what_was_in_it(store, tracer, make_span):
    # Given a file that is overwritten while it is open
    store.add([make_span()])
    store._file.connection().executescript("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory;")
    store.path.write_bytes(GARBAGE)

    # When spans end
    tracer.start_span("lost").end()
    tracer.start_span("kept", attributes={names.EVENT: "e"}).end()

    # Then at most the first of them is lost too
    assert len(store.traces_of_event("e")) == 1
    assert store.path.with_name("spans.sqlite.damaged").exists()


def test_a_full_disk_costs_spans_and_one_line(store, tracer, make_span, caplog):
    # Given a store that may not grow
    store.add([make_span()])
    connection = store._file.connection()
    [[pages]] = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    # When spans end that do not fit
    def fill() -> None:
        for _ in range(3):
            tracer.start_span("big", attributes={f"a{n}": "x" * 4000 for n in range(20)}).end()
            connection = store._file.connection()
            connection.execute(f"PRAGMA max_page_count = {pages}")

    fill()

    # Then nothing is raised, and it is said once
    assert [record.message for record in caplog.records if "Spans are lost" in record.message] == [
        f"Spans are lost: {store.path} cannot be written (database or disk is full)."
    ]
    # And when there is room again, the store goes on
    store._file.connection().execute("PRAGMA max_page_count = 100000")
    tracer.start_span("small", attributes={names.EVENT: "e"}).end()
    assert len(store.traces_of_event("e")) == 1


def test_a_place_that_cannot_be_written_costs_spans_and_one_line(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    exporter = SpanStoreExporter(SpanStore(tmp_path / "file" / "spans.sqlite"), Cleaner(Redactor()))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(3):
        provider.get_tracer("test").start_span("lost").end()
    assert len([record for record in caplog.records if "Spans are lost" in record.message]) == 1


def test_spans_are_stored_as_opentelemetry_gives_them(store, tracer):
    attributes = {names.EVENT: "e", "list": ("a", "b")}
    with (
        tracer.start_as_current_span("parent") as parent,
        pytest.raises(ValueError, match="bad"),
        tracer.start_as_current_span("child", attributes=attributes),
    ):
        raise ValueError("bad")
    first, second = store.trace(f"{parent.get_span_context().trace_id:032x}")
    assert (first.name, first.parent_id, second.parent_id) == ("parent", None, first.span_id)
    assert second.status == "error"
    assert second.status_message == "ValueError: bad"
    assert second.attributes == {names.EVENT: "e", "list": ["a", "b"]}
    assert second.events[0]["attributes"]["exception.message"] == "bad"
    assert second.process.startswith("api:")
    assert first.start_ns <= second.start_ns <= second.end_ns <= first.end_ns


def test_no_secret_reaches_the_file(store, tracer):
    with tracer.start_as_current_span(f"name {CANARY}") as span:
        span.set_attribute("plain", CANARY)
        span.set_attribute("list", ["x", CANARY])
        span.set_attribute(f"key {CANARY}", 1)
        span.set_attribute("header", "Bearer canary-never-registered")
        span.set_attribute("long", "x" * (MAX_TEXT_LENGTH - 8) + CANARY)
        span.add_event(f"event {CANARY}", {"a": CANARY})
        span.add_link(span.get_span_context(), {"a": CANARY})
    refusal = ValueError(f"refused {CANARY}")
    with pytest.raises(ValueError, match="refused"), tracer.start_as_current_span("failing"):
        raise refusal
    assert len(store.trace(f"{span.get_span_context().trace_id:032x}")) == 1
    content = file_bytes(store)
    assert b"refused [redacted]" in content
    assert b"canary" not in content


def test_old_spans_expire_when_the_store_prunes_itself(tmp_path, make_span):
    # Given spans of which the first ones ended 31 days ago
    old = 31 * 24 * 3600 * 10**9
    first, second, last = make_span("old"), make_span("old"), make_span("young")
    store = SpanStore(tmp_path / "spans.sqlite", max_days=30)
    aged = [replace(span, start_ns=span.start_ns - old, end_ns=span.end_ns - old) for span in (first, second)]
    # When they are stored, at which a new store prunes
    store.add([*aged, last])
    # Then they are gone
    assert [span.name for span in store.trace("a" * 32)] == ["young"]
    # And when nothing young is there, all are
    another = SpanStore(tmp_path / "other.sqlite", max_days=30)
    another.add(aged)
    assert another.trace("a" * 32) == []
    store.close()
    another.close()
