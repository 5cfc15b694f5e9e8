"""Spans that a run sends join its trace, and cannot be taken for the platform's."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from api.run_spans import BYTES_PER_RUN, SPANS_PER_RUN, RunSpans
from lightning.domain.run_tokens import RunAccess, mint
from lightning.errors import Transient
from lightning.telemetry.otlp import MAX_CHARS, MAX_SPANS, SpansSent
from lightning.telemetry.spans import SpanStore
from tests.api.conftest import assert_problem
from tests.api.runs import GoingRun
from tests.collector import collecting

TRACE, RUN_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


#: Sends spans of a run, and again with one more: DATA URL SPANS.
SENDS_AGAIN = """
import asyncio, json, sys
from api.run_spans import RunSpans
from lightning.domain.run_tokens import RunAccess
from lightning.domain.tokens import Claims
from lightning.settings import Settings
from lightning.telemetry.otlp import SpansSent
from lightning.telemetry.setup import configure_from

settings = Settings.load({"LIGHTNING_DATA": sys.argv[1], "OTEL_EXPORTER_OTLP_ENDPOINT": sys.argv[2]})
telemetry = configure_from(settings, "lightning-web")
sent = json.loads(sys.argv[3])
trace = {"traceparent": f"00-{sent[0]['traceId']}-00f067aa0ba902b7-01"}
task = {"id": "e", "userID": "u", "trace": trace}
access = RunAccess("u", {"id": "r"}, task, Claims("u", "user", "run", "t", 0))
spans = RunSpans(settings)
for some in (sent[:-1], sent):
    body = SpansSent.model_validate({"resourceSpans": [{"scopeSpans": [{"spans": some}]}]})
    assert asyncio.run(spans.keep(access, body, 1000)) == 0
spans.close()
telemetry.shutdown()
"""


def traced(ingress, trace=TRACE):
    """Give a run that was started within a trace."""
    run = GoingRun(ingress.person())
    run.token = mint(ingress.issuer, run.document, 1800, f"00-{trace}-{RUN_SPAN}-01")
    return run


@pytest.fixture(scope="module")
def run(ingress):
    return traced(ingress)


def span(**changes):
    now = time.time_ns()
    return {
        "traceId": TRACE,
        "spanId": "a" * 16,
        "name": "invoke_agent echo",
        "kind": 1,
        "startTimeUnixNano": str(now - 1_000_000),
        "endTimeUnixNano": str(now),
        **changes,
    }


def attribute(key, **value):
    return {"key": key, "value": value}


def send(run, *spans, service="lightning-worker"):
    resource = {"attributes": [attribute("service.name", stringValue=service)]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": [*spans]}]}]}
    return run.post("/otlp/v1/traces", body)


def stored(run, trace=TRACE):
    """Read what the span store has of a trace, by the ids of spans."""
    store = SpanStore(run.ingress.data / "spans.db")
    return {each.span_id: each for each in store.trace(trace)}


def test_a_span_joins_the_trace_of_the_run(run):
    # Given a span without a parent that says it is the platform's, with a secret in it
    secret = run.ingress.settings.jwt_signing_key.get_secret_value()
    said = [
        attribute("gen_ai.agent.name", stringValue="echo"),
        attribute("count", intValue="7"),
        attribute("lightning.event", stringValue="another"),
        attribute("key", stringValue=f"it is {secret}"),
        attribute("long", stringValue="x" * 100_000),
        attribute("list", arrayValue={"values": [{"boolValue": True}, {"stringValue": f"{secret} it is"}]}),
        attribute("map", kvlistValue={"values": [{"key": "a", "value": {"doubleValue": 0.5}}]}),
        attribute("longer", arrayValue={"values": [{"intValue": 1}] * 10_000}),
    ]
    # When it is sent
    assert send(run, span(attributes=said)).json() == {}
    # Then it hangs below the run, under its own names, without the secret
    kept = stored(run)["a" * 16]
    assert (kept.parent_id, kept.name, kept.kind) == (RUN_SPAN, "invoke_agent echo", "internal")
    assert kept.process == "run:lightning-worker"
    assert kept.attributes["gen_ai.agent.name"] == "echo"
    assert kept.attributes["count"] == 7
    assert kept.attributes["lightning.event"] == run.task["id"]
    assert kept.attributes["lightning.run_id"] == run.id
    assert kept.attributes["key"] == "it is [redacted]"
    assert len(kept.attributes["long"]) == len(kept.attributes["longer"]) == MAX_CHARS
    assert kept.attributes["list"] == [True, "[redacted] it is"]
    assert kept.attributes["map"] == {"a": 0.5}
    assert secret.encode() not in b"".join(file.read_bytes() for file in run.ingress.data.glob("spans.db*"))


def test_ids_in_capitals_and_times_as_numbers_are_the_same(run):
    now = time.time_ns()
    said = span(
        traceId=TRACE.upper(),
        spanId="D" * 16,
        parentSpanId="A" * 16,
        startTimeUnixNano=now - 1000,
        endTimeUnixNano=now,
        events=[{"name": "retry", "timeUnixNano": str(now)}, {"name": "undated"}],
        status={"code": 2, "message": "no"},
    )
    assert send(run, said).json() == {}
    kept = stored(run)["d" * 16]
    assert (kept.parent_id, kept.start_ns, kept.end_ns) == ("a" * 16, now - 1000, now)
    assert (kept.status, kept.status_message) == ("error", "no")
    assert [event["time_ns"] for event in kept.events] == [now, now - 1000]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"traceId": "b" * 32}, "foreign_trace"),
        ({"spanId": RUN_SPAN}, "foreign_span"),
        ({"startTimeUnixNano": "1000"}, "invalid_time"),
        ({"endTimeUnixNano": "1000"}, "invalid_time"),
        ({"endTimeUnixNano": "9" * 19}, "invalid_time"),
        ({"events": [{"name": "x", "timeUnixNano": "9" * 19}]}, "invalid_time"),
        ({"spanId": "0" * 16}, "foreign_span"),
        ({"spanId": "short"}, "invalid_parameter"),
        ({"kind": "1"}, "invalid_parameter"),
    ],
)
def test_a_span_that_is_not_the_run_s_own_is_refused(run, changes, code):
    # When a span that cannot be is sent behind one that can
    answer = send(run, span(spanId="c" * 16), span(**changes))
    # Then neither is kept
    assert answer.json()["code"] == code
    assert answer.status_code == 400
    assert "c" * 16 not in stored(run)


def test_the_span_of_another_run_stays_as_it_is(ingress, run):
    # Given a span of a run
    said = span(spanId="e" * 16, name="mine")
    assert send(run, said).status_code == 200
    # When another run sends one of the same ids, with its own token and in its own trace
    other = traced(ingress, "c" * 32)
    assert_problem(send(other, span(spanId="e" * 16, name="theirs")), 400, "foreign_trace")
    assert send(other, span(traceId="c" * 32, spanId="e" * 16, name="theirs")).json() == {}
    # And the run itself sends it again
    assert send(run, {**said, "name": "changed"}).json() == {}
    # Then each trace has its own, as it was sent first
    assert stored(run)["e" * 16].name == "mine"
    assert stored(run, "c" * 32)["e" * 16].name == "theirs"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"stringValue": 1, "arrayValue": "x", "kvlistValue": {"values": []}},
        {"arrayValue": {"values": {"a": 1}}},
        {"kvlistValue": {"values": ["x", {"key": {}, "value": []}]}},
        {"intValue": "9" * 5000},
        {"doubleValue": "NaN"},
        {"stringValue": "<\u202e\u001b[31m>"},
    ],
)
def test_no_value_of_an_attribute_breaks_anything(ingress, value):
    run = traced(ingress, "d" * 32)
    sent = span(traceId="d" * 32, attributes=[attribute("odd", **value)])
    assert send(run, sent, service="\u001b[31m" * 100).json() == {}
    assert stored(run, "d" * 32)["a" * 16].process.startswith("run:")


def proto(*spans):
    """Give spans as an exporter would send them in protobuf."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "exporter"
    scope = resource.scope_spans.add()
    now = time.time_ns()
    for changes in spans:
        given = {"trace_id": bytes.fromhex(TRACE), "span_id": b"p" * 8, "name": "made", **changes}
        scope.spans.add(start_time_unix_nano=now - 1000, end_time_unix_nano=now, **given)
    return request


def send_proto(run, body, **headers):
    kind = {"content-type": "application/x-protobuf"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return run.request("POST", "/otlp/v1/traces", content=body, headers={**kind, **named})


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_exporter_of_an_sdk_sends_as_it_comes(ingress, compression):
    # Given an SDK with its exporter, as a run's environment sets it up
    run = traced(ingress, "1" * 32)
    exporter = OTLPSpanExporter(
        f"{ingress.url}/otlp/v1/traces",
        headers={"authorization": f"Bearer {run.token}"},
        compression=compression,
    )
    provider = TracerProvider(resource=Resource({"service.name": "tools"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    parent = TraceContextTextMapPropagator().extract({"traceparent": f"00-{'1' * 32}-{RUN_SPAN}-01"})
    # When it makes one span within another
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("invoke_agent", context=parent, kind=SpanKind.SERVER) as outer:
        with tracer.start_as_current_span("execute_tool") as inner:
            inner.set_attributes({"count": 7, "ratio": 0.5, "is": True, "names": ["a", "b"]})
            inner.add_event("retry", {"attempt": 2})
        outer.set_status(StatusCode.ERROR, "it broke")
    provider.shutdown()
    # Then both hang below the run
    kept = {each.name: each for each in stored(run, "1" * 32).values()}
    assert (kept["invoke_agent"].parent_id, kept["invoke_agent"].kind) == (RUN_SPAN, "server")
    assert (kept["invoke_agent"].status, kept["invoke_agent"].status_message) == ("error", "it broke")
    assert kept["execute_tool"].parent_id == kept["invoke_agent"].span_id
    assert kept["execute_tool"].process == "run:tools"
    attributes = kept["execute_tool"].attributes
    assert {name: attributes[name] for name in ("count", "ratio", "is", "names")} == {
        "count": 7,
        "ratio": 0.5,
        "is": True,
        "names": ["a", "b"],
    }
    assert [(each["name"], each["attributes"]) for each in kept["execute_tool"].events] == [
        ("retry", {"attempt": 2})
    ]


def test_protobuf_is_answered_in_protobuf(ingress):
    # Given a run that has sent as many spans as it may
    run = traced(ingress, "2" * 32)
    own = {"trace_id": bytes.fromhex("2" * 32)}
    for first in range(0, SPANS_PER_RUN, 500):
        body = proto(*({**own, "span_id": (first + each + 1).to_bytes(8)} for each in range(500)))
        answer = send_proto(run, body.SerializeToString())
        assert (answer.status_code, answer.content) == (200, b"")
    # When it sends one more
    answer = send_proto(run, proto(own).SerializeToString())
    # Then it is told how many were not kept
    assert answer.headers["content-type"] == "application/x-protobuf"
    told = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (told.rejected_spans, "further ones are not kept" in told.error_message) == (1, True)


def nested(levels):
    """Give a span with lists within lists."""
    request = proto({})
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(levels):
        value = value.array_value.values.add()
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{}", "not_protobuf", None),
        (proto({}).SerializeToString()[:-1], "not_protobuf", None),
        (proto({"trace_id": b"x" * 16}).SerializeToString(), "foreign_trace", None),
        (proto({"trace_id": b"x"}).SerializeToString(), "invalid_parameter", "traceId"),
        (proto({"span_id": b""}).SerializeToString(), "invalid_parameter", "spanId"),
        (proto({"name": ""}).SerializeToString(), "invalid_parameter", "name"),
        (proto({"name": "a\0b"}).SerializeToString(), "unstorable_text", "name"),
        (proto({"kind": 9}).SerializeToString(), "invalid_parameter", "kind"),
        (nested(20), "too_deep", None),
        (nested(200), "not_protobuf", None),
        (proto(*[{}] * (MAX_SPANS + 1)).SerializeToString(), "too_many_spans", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_protobuf_that_is_wrong_is_refused(run, body, code, field):
    pointer = None if field is None else f"/resourceSpans/0/scopeSpans/0/spans/0/{field}"
    assert_problem(send_proto(run, body), 400, code, pointer=pointer)


def test_a_million_empty_values_are_read_or_refused_in_time(ingress):
    # Given what is small as it comes, and large as it is read
    run = traced(ingress, "3" * 32)
    request = proto({"trace_id": bytes.fromhex("3" * 32)})
    values = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="many").value
    values.array_value.values.extend([AnyValue()] * 400_000)
    body = request.SerializeToString()
    assert len(body) < 1024**2
    # When it is sent
    answer = send_proto(run, body)
    # Then it is taken, and what is kept of it is short
    assert answer.status_code == 200
    assert len(str(stored(run, "3" * 32)[(b"p" * 8).hex()].attributes)) < 3 * MAX_CHARS


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no gzip", 400, "not_gzip"),
        (gzip.compress(b"x" * 100)[:-4], 400, "not_gzip"),
        (gzip.compress(b"{}") + b"more", 400, "not_gzip"),
        (gzip.compress(b" " * (1024**2 + 1)), 413, "too_large"),
    ],
    ids=["none", "cut", "more", "large"],
)
def test_gzip_that_is_wrong_is_refused(run, body, status, code):
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    answer = run.request("POST", "/otlp/v1/traces", content=body, headers=headers)
    assert_problem(answer, status, code)


def test_json_may_be_compressed_too(ingress):
    run = traced(ingress, "4" * 32)
    sent = span(traceId="4" * 32)
    body = gzip.compress(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [sent]}]}]}).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert run.request("POST", "/otlp/v1/traces", content=body, headers=headers).json() == {}
    assert list(stored(run, "4" * 32)) == ["a" * 16]


def test_what_is_neither_protobuf_nor_json_is_refused(run):
    for headers in ({"content-type": "text/plain"}, {"content-encoding": "br"}):
        answer = run.request("POST", "/otlp/v1/traces", content=b"{}", headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")


def test_more_spans_than_one_request_may_have_are_refused(run):
    answer = send(run, *(span(spanId=f"{number:016x}") for number in range(1, MAX_SPANS + 2)))
    assert_problem(answer, 400, "too_many_spans")


def test_what_one_run_may_send_is_bounded(ingress):
    # Given a run
    run = traced(ingress, "e" * 32)
    # When it sends more than there is room for, again and again
    rejected, number, requests = 0, 1, SPANS_PER_RUN // MAX_SPANS + 2
    for _ in range(requests):
        spans = [span(traceId="e" * 32, spanId=f"{number + each:016x}") for each in range(MAX_SPANS)]
        rejected += send(run, *spans).json().get("partialSuccess", {}).get("rejectedSpans", 0)
        number += MAX_SPANS
    # Then the rest is rejected, and it is told so
    assert rejected == requests * MAX_SPANS - SPANS_PER_RUN
    assert len(stored(run, "e" * 32)) == SPANS_PER_RUN
    # And another run has its own room
    assert send(traced(ingress), span(spanId="f" * 16)).json() == {}


def test_spans_that_a_run_sends_again_take_no_room(ingress):
    # Given a run that heard no answer, and sent the same spans more often than there is room for
    run = traced(ingress, "5" * 32)
    huge = attribute("huge", stringValue="x" * (BYTES_PER_RUN // SPANS_PER_RUN))
    own = {"traceId": "5" * 32, "attributes": [huge]}
    spans = [span(spanId=f"{number:016x}", **own) for number in range(1, 201)]
    for _ in range(SPANS_PER_RUN // len(spans) + 2):
        assert send(run, *spans, spans[0]).json() == {}
    # When it sends others, with one of those among them
    more = [span(spanId=f"{number:016x}", **own) for number in range(200, 301)]
    # Then all are taken
    assert send(run, *more).json() == {}
    assert len(stored(run, "5" * 32)) == 300


def test_a_span_that_a_run_sends_again_reaches_other_destinations_once(tmp_path):
    # Given an ingress that sends spans to a collector
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    spans = [span(spanId=f"{number:016x}", name=f"{number}") for number in (1, 2, 3)]
    with collecting() as collector:
        # When a run sends spans, and sends them again with one more
        subprocess.run(
            [sys.executable, "-c", SENDS_AGAIN, str(tmp_path), collector.url, json.dumps(spans)],
            env=clean,
            timeout=60,
            check=True,
        )
    # Then each has arrived, once
    arrived = [item["name"] for service, item in collector.of("/v1/traces") if service == "lightning-run"]
    assert sorted(arrived) == ["1", "2", "3"]


def test_the_bytes_of_one_run_are_bounded(ingress):
    # Given a run that sends one span with a huge attribute after another
    run = traced(ingress, "f" * 32)
    huge = attribute("huge", stringValue="x" * 900_000)
    requests = BYTES_PER_RUN // 900_000 + 1
    answers = [
        send(run, span(traceId="f" * 32, spanId=f"{number:016x}", attributes=[huge])).json()
        for number in range(1, requests + 1)
    ]
    # Then the last finds no room
    assert answers[:-1] == [{}] * (requests - 1)
    assert answers[-1]["partialSuccess"]["rejectedSpans"] == 1
    # And one that is larger than any may be is not read
    huge = attribute("huge", stringValue="x" * 1024**2)
    assert_problem(send(run, span(traceId="f" * 32, attributes=[huge])), 413, "too_large")


def test_what_could_not_be_written_may_come_again(run, tmp_path):
    # Given a store that cannot be written
    spans = RunSpans(run.ingress.settings.model_copy(update={"data": tmp_path}))
    (tmp_path / "spans.db").mkdir()
    access = RunAccess(run.person.id, run.document, run.event(), run.ingress.issuer.verify(run.token, "run"))
    scope = {"spans": [span(spanId=f"{number:016x}") for number in range(1, MAX_SPANS + 1)]}
    sent = SpansSent.model_validate({"resourceSpans": [{"scopeSpans": [scope]}]})
    # When a run tries more often than it may send
    for _ in range(SPANS_PER_RUN // MAX_SPANS + 2):
        with pytest.raises(Transient) as caught:
            asyncio.run(spans.keep(access, sent, 1000))
        assert caught.value.code == "store_unavailable"
    # Then all is taken once the store can be written
    (tmp_path / "spans.db").rmdir()
    assert asyncio.run(spans.keep(access, sent, 1000)) == 0
    spans.close()
    assert len(SpanStore(tmp_path / "spans.db").trace(TRACE)) == MAX_SPANS
