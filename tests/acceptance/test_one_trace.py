"""One request, told span by span: by the store on this machine, and by what Application Insights was sent."""

import json
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass

import httpx2
import pytest

from lightning.telemetry.spans import SpanStore
from ops.chaos.installation import ModelServer, until
from tests.acceptance.images import interpreter, make_image
from tests.acceptance.running_up import Up
from tests.kusto import ask
from tests.receiver import receiving
from worker.agent_home import sandbox_agents

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("queue")]

on_azure = pytest.mark.parametrize("queue", ["azure"], indirect=True, scope="module")

IMAGE = "registry.example/programs:1"
RUN = f"run {IMAGE}"
PYTHON = sandbox_agents().words[0]
SMALL = {"cpu": 1, "memoryMiB": 128, "diskMiB": 8, "pids": 16}
QUESTION = "canary-prompt-91c2: what is in the log?"

SETTINGS = {
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_LEASE_SECONDS": "2",
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    "LIGHTNING_WEBHOOK_TIMEOUT": "60",
    "LIGHTNING_WEBHOOK_RETRIES": "0.3,0.3",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
}

# An agent as others write them: a span of its own, in which it asks a model and uses a tool.
AGENT = """
import http.client, json, os, time, urllib.parse
_, trace, parent, _ = os.environ["TRACEPARENT"].split("-")
def post(url, body, headers):
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    connection.request("POST", where.path, json.dumps(body), {"content-type": "application/json", **headers})
    assert connection.getresponse().status == 200, url
token = {"authorization": "Bearer " + os.environ["LIGHTNING_RUN_TOKEN"]}
agent, tool = os.urandom(8).hex(), os.urandom(8).hex()
begun = time.time_ns()
question = json.loads(os.environ["LIGHTNING_TASK"])["input"]
asked = {"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": question}]}
post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", asked,
     {**token, "traceparent": f"00-{trace}-{agent}-01"})
time.sleep(2.5)
def span(name, id, above):
    return {"traceId": trace, "spanId": id, "parentSpanId": above, "name": name, "kind": 1,
            "startTimeUnixNano": str(begun), "endTimeUnixNano": str(time.time_ns())}
spans = [span("execute_tool look", tool, agent), span("invoke_agent probe", agent, parent)]
post(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces",
     {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, token)
post(os.environ["LIGHTNING_API_URL"] + "/run/result", {"output": "seen"}, token)
"""


@dataclass(frozen=True)
class Told:
    """A span, by whichever way it was told."""

    id: str
    parent: str
    name: str
    process: str
    failed: bool
    kind: str
    target: str
    dimensions: dict


def of_store(up: Up, event_id: str) -> list[Told]:
    """Read the trace of an event from the store on this machine."""
    with closing(SpanStore(up.data / "spans.db")) as store:
        spans = [span for trace_id in store.traces_of_event(event_id) for span in store.trace(trace_id)]
    return [
        Told(
            span.span_id,
            span.parent_id or "",
            span.name,
            span.process.partition(":")[0],
            span.status == "error",
            span.kind,
            str(span.attributes.get("server.address", "")),
            span.attributes,
        )
        for span in spans
    ]


def rows(up: Up, table: str, operation: str = "") -> list[dict]:
    """Read a table of what Application Insights was sent."""
    with closing(sqlite3.connect(up.data / "emulators" / "monitor" / "telemetry.db")) as file:
        file.row_factory = sqlite3.Row
        found = file.execute(
            f"SELECT * FROM {table} WHERE ? IN ('', operation_Id) ORDER BY position", (operation,)
        )
        return [dict(row) for row in found]


def ran_of(up: Up) -> list[dict]:
    """Read how long runs took, as Application Insights was told."""
    return [row for row in rows(up, "customMetrics") if row["name"] == "lightning.run.ran_seconds"]


def of_azure(up: Up, event_id: str) -> list[Told]:
    """Read the operation of an event from what Application Insights was sent."""
    operations = {
        row["operation_Id"]
        for row in rows(up, "requests")
        if json.loads(row["customDimensions"]).get("lightning.event") == event_id
    } or {"none"}
    [operation] = operations
    return [
        Told(
            row["id"],
            row["operation_ParentId"],
            row["name"],
            row["cloud_RoleName"],
            row["success"] == "False",
            row.get("type", "request"),
            row.get("target", ""),
            json.loads(row["customDimensions"]) | json.loads(row["customMeasurements"]),
        )
        for table in ("requests", "dependencies")
        for row in rows(up, table, operation)
    ]


def is_all_told(spans: list[Told]) -> bool:
    """Tell whether the delivery that succeeded is there, and the cause of each span."""
    ids = {span.id for span in spans} | {""}
    delivered = any(span.name in {"POST", "POST /"} and not span.failed for span in spans)
    return delivered and all(span.parent in ids for span in spans)


@pytest.fixture(scope="module")
def up(tmp_path_factory, queue):
    del queue
    folder = tmp_path_factory.mktemp("one-trace")
    make_image(folder / "data" / "images" / IMAGE, interpreter())
    with ModelServer(folder, [{"reply": "canary-answer-77e1"}]) as model:
        running = Up(folder / "data", {**model.environment(), **SETTINGS})
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def event(up):
    """A request that an agent in a container works on, and whose webhook is delivered against all odds."""
    told = of_azure if up.emulated else of_store
    with receiving() as receiver, up.client() as client:
        url = f"{receiver.url}/first_hangs/hook"
        webhook = {"url": url, "types": ["worker.task.result"]}
        made = httpx2.post(f"{up.url}/api/webhooks", json=webhook, headers=client.headers())
        assert made.status_code == 201, made.text
        task = {
            "image": IMAGE,
            "command": [PYTHON, "-S", "-c", AGENT],
            "network": "none",
            "resources": SMALL,
            "input": QUESTION,
        }
        event = client.send("worker.task", task)
        [result] = client.wait(event, timeout_seconds=90)["outputs"]
        assert result["metadata"]["status"] == "succeeded", client.run_log(result["metadata"]["runID"])
        # Given a worker that dies while it posts to the webhook, when what it did before has been told
        until(lambda: receiver.to("/first_hangs/hook"), "it is delivered", seconds=90)
        before = f"process {up.queue_name}-messenger"
        until(
            lambda: any(span.name == before for span in told(up, event["id"])),
            "what was before is told",
            seconds=60,
        )
        # metrics go apart from spans, and what a process has not sent dies with it
        until(lambda: not up.emulated or ran_of(up), "what the run took is told", seconds=60)
        receiver.will_answer("/first_hangs/hook", 500)
        [worker] = up.children("worker.main")
        os.kill(worker, signal.SIGKILL)
        # Then the message comes again, is refused once, and is tried once more
        until(lambda: len(receiver.to("/first_hangs/hook")) == 3, "it is delivered", seconds=90)
        until(lambda: is_all_told(told(up, event["id"])), "all is told", seconds=60)
    return event


def post_of(up: Up) -> str:
    """Name the span of a webhook's post: Application Insights adds a path, which is never the real one."""
    return "POST /" if up.emulated else "POST"


def edges_of(up: Up) -> set[tuple[str, str]]:
    """List what follows from what: the request, the run, its agent, what it asks and uses, and its end."""
    queue, post = up.queue_name, post_of(up)
    return {
        ("POST /api/events", ""),
        (f"send {queue}-task-runner", "POST /api/events"),
        (f"process {queue}-task-runner", f"send {queue}-task-runner"),
        (RUN, f"process {queue}-task-runner"),
        ("invoke_agent probe", RUN),
        ("execute_tool look", "invoke_agent probe"),
        ("POST /v1/chat/completions", "invoke_agent probe"),
        ("chat gpt-3.5-turbo", "POST /v1/chat/completions"),
        (f"send {queue}-task-runner", f"process {queue}-task-runner"),  # `Again`, while the run goes on
        (f"send {queue}-messenger", f"process {queue}-task-runner"),
        (f"process {queue}-messenger", f"send {queue}-messenger"),
        (f"send {queue}-webhook", f"process {queue}-messenger"),
        (f"process {queue}-webhook", f"send {queue}-webhook"),
        (post, f"process {queue}-webhook"),
        (f"send {queue}-webhook", f"process {queue}-webhook"),  # the retry
    }


def put_off(spans: list[Told]) -> set[str]:
    """Find the messages that met another's claim, and were sent again for later.

    A message that comes later than the sweep has patience, as on a busy machine, is sent a second time. Then
    one of the two finds the event in the hands of the other, and tells nothing of what it is.
    """
    idle = {
        span.id: span.name.removeprefix("process ")
        for span in spans
        if span.name.startswith("process ") and "lightning.type" not in span.dimensions
    }
    return {span.id for span in spans if span.name == f"send {idle.get(span.parent)}"}


def test_one_trace_tells_it_all(up, event):
    spans = (of_azure if up.emulated else of_store)(up, event["id"])
    names = {span.id: span.name for span in spans}
    assert len(names) == len(spans)
    # Each span hangs below the one that caused it, over queues, processes, a container and a dead worker
    edges = {
        (span.name, names.get(span.parent, span.parent)) for span in spans if span.id not in put_off(spans)
    }
    # when a run has said what came of it, its task is looked at at once, if nobody does so already
    hastened = {(f"send {up.queue_name}-task-runner", RUN)}
    assert edges - hastened == edges_of(up)
    once = Counter(span.name for span in spans)
    for name in ("POST /api/events", RUN, "invoke_agent probe", "execute_tool look", "chat gpt-3.5-turbo"):
        assert once[name] == 1, name
    # And each says which process did it
    agents = {"invoke_agent probe": "run", "execute_tool look": "run"}
    ingress = {"POST /api/events": "lightning-web", "POST /v1/chat/completions": "lightning-web"}
    for span in spans:
        role = (agents | ingress).get(span.name)
        if span.name == "chat gpt-3.5-turbo":
            role = "lightning-web"
        if role is None and not span.name.startswith("send"):
            role = "lightning-worker"  # the ingress and the clock send too
        assert role is None or span.process.removeprefix("lightning-") == role.removeprefix("lightning-"), (
            span
        )


def test_the_retry_and_the_redelivery_are_told(up, event):
    spans = (of_azure if up.emulated else of_store)(up, event["id"])
    # The worker that died tells nothing of its post; the second was refused, the third was not
    tries = [span for span in spans if span.name == post_of(up)]
    assert sorted(span.failed for span in tries) == [False, True]
    [refused] = [span for span in tries if span.failed]
    assert refused.dimensions["lightning.error_code"] == "unexpected_status"
    worked_on = [
        span
        for span in spans
        if span.name.endswith("-webhook") and span.dimensions.get("lightning.type") == "webhook.delivery"
    ]
    assert {(str(span.dimensions["lightning.attempt"]), span.failed) for span in worked_on} == {
        ("2", True),
        ("3", False),
    }


def test_every_span_names_its_event_and_user(up, event):
    spans = (of_azure if up.emulated else of_store)(up, event["id"])
    kinds = ("send", "process", "run", "chat", "invoke_agent", "execute_tool", "POST /api/events")
    for span in spans:
        if span.name.startswith(kinds):
            assert span.dimensions["lightning.event"], span
            assert span.dimensions["lightning.user"] == event["userID"], span


@on_azure
def test_application_insights_can_draw_it(up, event):
    spans = {span.name: span for span in of_azure(up, event["id"])}
    queue = up.queue_name
    # Requests are what came in, with the time in the queue; dependencies what was asked of others
    assert spans["POST /api/events"].kind == "request"
    assert spans[f"process {queue}-messenger"].kind == "request"
    assert spans[f"process {queue}-messenger"].dimensions["timeSinceEnqueued"] > 0
    sent = spans[f"send {queue}-messenger"]
    assert (sent.kind, sent.target) == (
        "Queue Message | Microsoft.ServiceBus",
        f"127.0.0.1/{queue}-messenger",
    )
    asked = spans["chat gpt-3.5-turbo"]
    assert (asked.kind, asked.target) == ("GenAI | openai", "openai")
    assert int(asked.dimensions["gen_ai.usage.output_tokens"]) > 0
    assert (spans[RUN].target, spans["invoke_agent probe"].kind) == ("lightning-run", "InProc")
    assert spans["POST /"].kind == "HTTP"
    assert spans["POST /"].target.startswith("127.0.0.1:")
    # And how the run ended is an event of its own
    ended = [row for row in rows(up, "customEvents") if row["name"] == "run_ended"]
    assert ended
    assert json.loads(ended[0]["customDimensions"])["lightning.run.status"] == "succeeded"


@on_azure
def test_metrics_are_sent(up, event):
    del event
    wanted = {
        "lightning.step.duration": "lightning-worker",
        "lightning.event.attempts": "lightning-worker",
        "lightning.queue.lag": "lightning-worker",
        "lightning.queue.depth": "lightning-clock",
        "lightning.run.waited_seconds": "lightning-worker",
        "lightning.run.start_seconds": "lightning-worker",
        "lightning.run.ran_seconds": "lightning-worker",
        "lightning.events.moved": "lightning-worker",
        "gen_ai.client.token.usage": "lightning-web",
    }

    def sent():
        return {(row["name"], row["cloud_RoleName"]) for row in rows(up, "customMetrics")}

    with suppress(TimeoutError):
        until(lambda: wanted.items() <= sent(), "they are sent", seconds=60)
    assert wanted.items() - sent() == set()
    [ran, *_] = ran_of(up)
    assert ran["valueMax"] > 2
    assert json.loads(ran["customDimensions"])["lightning.run.status"] == "succeeded"


@on_azure
def test_operators_find_it(up, event):
    file = up.data / "emulators" / "monitor" / "telemetry.db"
    assert {span["name"] for span in ask(file, "one-request", event=event["id"])} == {
        name for name, _ in edges_of(up)
    }
    [mine] = [each for each in ask(file, "what-a-user-triggered", user=event["userID"]) if each["runs"]]
    assert (mine["runs"], mine["failures"], mine["tokens"] > 0) == (1, 2, True)
    [spent] = ask(file, "tokens-and-cost")
    assert (spent["agent"], spent["model"], spent["calls"]) == (IMAGE, "gpt-3.5-turbo", 1)
    assert {"unexpected_status"} == {each["code"] for each in ask(file, "failures-by-code")}
    assert {each["attempts"] for each in ask(file, "retry-storms")} == {3}
    [starts] = ask(file, "cold-starts")
    assert starts["ranP95"] > 2
    assert f"{up.queue_name}-webhook" in {each["queue"] for each in ask(file, "queue-lag")}
    assert ask(file, "dead-events") == []


def test_nothing_tells_what_was_said(up, event):
    del event
    secrets = [up.environment["OPENAI_API_KEY"]]
    told = [*up.data.glob("spans.db*"), *up.data.glob("emulators/monitor/*.db*")]
    assert told
    for path in told:
        content = path.read_bytes()
        for canary in (QUESTION[:19], "canary-answer", "first_hangs", *secrets):
            assert canary.encode() not in content, (path, canary)
