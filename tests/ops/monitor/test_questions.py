"""The operators' questions in KQL, over what the real exporter sent under the product's names."""

import os
import subprocess
import sys

import pytest

from ops.emulators.monitor import MonitorEmulator
from tests.kusto import FOLDER, ask

EVENT, OTHER, USER, SCHEDULE = "event-1", "event-2", "user-1", "schedule-1"

PROGRAM = f"""
import sys, time
from opentelemetry import trace
import structlog
from actors.task_end import tell_end
from lightning.settings import Settings
from lightning.tasks import TaskMetadata, TaskResultMetadata
from lightning.telemetry import names, relay
from lightning.telemetry.setup import configure_from
from lightning.telemetry.spans import Span

settings = Settings.load({{
    "LIGHTNING_DATA": sys.argv[1], "APPLICATIONINSIGHTS_CONNECTION_STRING": sys.argv[2],
    "LIGHTNING_SPANS": "0",
}})
telemetry = configure_from(settings, "lightning-worker")
tracer, log = trace.get_tracer("t"), structlog.get_logger("t")
CONSUMER, CLIENT = trace.SpanKind.CONSUMER, trace.SpanKind.CLIENT

def process(event, attempt, *, code=None, waited_ms=0, **attributes):
    at = time.time_ns() // 10**6 - waited_ms
    link = trace.Link(trace.SpanContext(1, 2, is_remote=True), {{names.LINK_ENQUEUED_TIME: at}})
    span = tracer.start_as_current_span("process lightning", kind=CONSUMER, links=[link], attributes={{
        names.AZ_NAMESPACE: names.AZ_NAMESPACE_SERVICE_BUS, names.QUEUE: "lightning", names.ACTOR: "chat",
        names.EVENT: event, names.USER: "{USER}", names.ATTEMPT: attempt, **attributes,
        **({{}} if code is None else {{names.ERROR_CODE: code}}),
    }})
    return span

for attempt in (1, 2, 3):
    with process("{EVENT}", attempt, code="model_busy", waited_ms=100 * attempt) as span:
        span.set_status(trace.StatusCode.ERROR, "busy")
        with tracer.start_as_current_span("chat gpt-4o", kind=CLIENT, attributes={{
            names.GEN_AI_SYSTEM: "openai", names.GEN_AI_REQUEST_MODEL: "gpt-4o",
            names.GEN_AI_USAGE_INPUT_TOKENS: 1000, names.GEN_AI_USAGE_OUTPUT_TOKENS: 200,
        }}):
            pass
# a run says itself what it took, truly or not
now, within = time.time_ns(), span.get_span_context()
said = Span(
    f"{{within.trace_id:032x}}", "c" * 16, f"{{within.span_id:016x}}", "chat gpt-4o", "client", now, now,
    attributes={{
        names.RUN_ID: "r1", names.GEN_AI_SYSTEM: "openai", names.GEN_AI_REQUEST_MODEL: "gpt-4o",
        names.GEN_AI_USAGE_INPUT_TOKENS: 50_000, names.GEN_AI_USAGE_OUTPUT_TOKENS: 10_000,
    }},
)
relay.relay([said], "lightning-run", "r1")
why = {{"code": "model_busy", "message": "busy"}}
log.warning("event_dead", event_id="{EVENT}", user="{USER}", type="llm.chat", **why)
for drift in (1.0, 75.0):
    with process("{OTHER}", 1, **{{names.SCHEDULE: "{SCHEDULE}", names.SCHEDULE_DRIFT: drift}}):
        pass
log.warning("slots_missed", schedule="{SCHEDULE}", slots=4)
task = {{"id": "{OTHER}", "userID": "{USER}"}}
asked = TaskMetadata(agent="echo")
for run, status in (("r1", "out_of_memory"), ("r1", "out_of_memory"), ("r2", "succeeded")):
    tell_end(task, asked, TaskResultMetadata(
        taskID="{OTHER}", runID=run, status=status, message="", waitedSeconds=2.5, ranSeconds=10.0))
telemetry.shutdown()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    with MonitorEmulator(data=folder) as running:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), running.connection_string],
            env={name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            timeout=100,
            check=True,
        )
        yield folder / "telemetry.db"


def test_one_request(file):
    spans = ask(file, "one-request", event=EVENT)
    assert [span["name"] for span in spans] == [*["process lightning", "chat gpt-4o"] * 3, "chat gpt-4o"]
    assert [span["attempt"] for span in spans if span["itemType"] == "request"] == [1, 2, 3]
    assert spans[1]["operation_ParentId"] == spans[0]["id"]
    assert {span["code"] for span in spans if span["success"] == "False"} == {"model_busy"}
    assert 100 <= spans[0]["waitedMs"] < 100_000


def test_queue_lag(file):
    lag = ask(file, "queue-lag")
    assert {each["queue"] for each in lag} == {"lightning"}
    assert sum(each["messages"] for each in lag) == 5
    assert lag[0]["p95"] > 100


def test_failures_by_code(file):
    [failure] = ask(file, "failures-by-code")
    assert (failure["code"], failure["name"], failure["failures"], failure["events"]) == (
        "model_busy",
        "process lightning",
        3,
        1,
    )


def test_retry_storms(file):
    [storm] = ask(file, "retry-storms")
    assert (storm["event"], storm["actor"], storm["attempts"], storm["deliveries"], storm["code"]) == (
        EVENT,
        "chat",
        3,
        3,
        "model_busy",
    )


def test_dead_events(file):
    [dead] = ask(file, "dead-events")
    assert (dead["event"], dead["user"], dead["type"], dead["code"], dead["message"]) == (
        EVENT,
        USER,
        "llm.chat",
        "model_busy",
        "busy",
    )


def test_tokens_and_cost(file):
    # what a run says of itself is left out
    [spent] = ask(file, "tokens-and-cost")
    assert (spent["agent"], spent["model"], spent["calls"]) == ("chat", "gpt-4o", 3)
    assert (spent["inputTokens"], spent["outputTokens"]) == (3000, 600)
    assert spent["cost"] == pytest.approx(0.0135)


def test_container_failures(file):
    [failure] = ask(file, "container-failures")
    assert (failure["agent"], failure["status"], failure["runs"]) == ("echo", "out_of_memory", 1)


def test_cold_starts(file):
    starts = ask(file, "cold-starts")
    assert sum(each["runs"] for each in starts) == 3
    assert {(each["agent"], each["waitedP95"], each["ranP95"]) for each in starts} == {("echo", 2.5, 10.0)}


def test_late_ticks(file):
    [late] = ask(file, "late-ticks")
    assert (late["schedule"], late["late"], late["worstSeconds"], late["missed"]) == (SCHEDULE, 1, 75.0, 4)


def test_what_a_user_triggered(file):
    triggered = ask(file, "what-a-user-triggered", user=USER)
    assert len(triggered) == 5
    assert sum(each["tokens"] or 0 for each in triggered) == 3600
    assert sum(each["failures"] for each in triggered) == 3
    assert ask(file, "what-a-user-triggered", user="nobody") == []


def test_every_question_is_asked_here():
    asked = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in FOLDER.glob("*.kql")} == asked - {"every-question-is-asked-here"}
