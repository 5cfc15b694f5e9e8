"""The span of an agent: what is sent as it ends, and that the agent ends the same whatever comes of it."""

import json
import socket
import sys

import pytest

from agents.spans import invoke
from lightning.telemetry.otlp import Origin, SpansSent, spans_of
from lightning.telemetry.redaction import Redactor
from tests.agents.test_entry import agent

TRACE, RUN_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def variables(endpoint):
    return {
        "TRACEPARENT": f"00-{TRACE}-{RUN_SPAN}-01",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token,X-More=1",
    }


def sent(platform):
    """Read the one request as the platform does; it must be one that it takes."""
    [(method, path, authorization, body)] = platform.requests
    assert (method, path, authorization) == ("POST", "/otlp/v1/traces", "Bearer token")
    [span] = spans_of(SpansSent.model_validate(body), Origin(TRACE, RUN_SPAN, {}, "run"), Redactor())
    return span


@pytest.fixture
def there(platform):
    platform.answers += [(200, {})]
    return variables(f"http://127.0.0.1:{platform.server_port}/otlp")


def test_an_agent_that_ends_well_has_a_span_below_the_run_s(platform, there):
    # When the echo runs within a trace
    ran = agent("echo", task=json.dumps({"input": "hello"}), **there)
    assert (ran.returncode, ran.stderr) == (0, "")
    # Then its span was sent
    span = sent(platform)
    assert (span.parent_id, span.name, span.kind) == (RUN_SPAN, "invoke_agent echo", "internal")
    assert (span.status, span.process) == ("ok", "run:echo")
    assert span.attributes == {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "echo"}


@pytest.mark.parametrize(
    ("ends", "code", "status", "says"),
    [
        ("return 7", 7, "error", "exit code 7"),
        ("sys.exit('with words')", 1, "error", "exit code 1"),
        ("sys.exit(0)", 0, "ok", ""),
        ("raise ValueError('a secret')", 1, "error", "ValueError"),
    ],
)
def test_how_an_agent_ends_stands_in_its_span(platform, there, tmp_path, ends, code, status, says):
    # Given an agent that says what it would give to what it starts, and ends in some way
    program = f"import os, sys\ndef run(task):\n    print(os.environ['TRACEPARENT'])\n    {ends}\n"
    (tmp_path / "theirs.py").write_text(program)
    described = tmp_path / "theirs-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[lightning.agents]\ntheirs = theirs:run\n")
    # When it runs
    ran = agent("theirs", task="{}", beside=tmp_path, **there)
    # Then it ended so, and its span says it
    span = sent(platform)
    assert (ran.returncode, span.status, span.status_message) == (code, status, says)
    assert "a secret" not in json.dumps(platform.requests)
    # And what it starts hangs below it
    assert ran.stdout == f"00-{TRACE}-{span.span_id}-01\n"


@pytest.mark.parametrize("answer", [(None, None), (400, {}), (429, {}), (503, {})])
def test_a_platform_that_takes_no_span_is_not_the_agent_s_concern(platform, there, answer):
    platform.answers[:] = [answer]
    ran = agent("echo", task="{}", **there)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9/otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://["},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "a\nb=%ff%0a"},
        {"TRACEPARENT": "nonsense"},
        {"TRACEPARENT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_variables_that_lead_nowhere_are_not_the_agent_s_concern(platform, there, capfd, changes):
    assert invoke("x", lambda: 7, {**there, **changes}) == 7
    assert capfd.readouterr() == ("", "")
    assert platform.requests == []


def test_a_platform_that_never_answers_is_not_waited_for():
    # Given an address at which nobody answers
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = variables(f"http://127.0.0.1:{silent.getsockname()[1]}/otlp")
        # Then the agent ends all the same, with what it raises
        assert invoke("x", lambda: 7, there, patience_seconds=0.1) == 7
        with pytest.raises(SystemExit, match="9"):
            invoke("x", lambda: sys.exit(9), there, patience_seconds=0.1)
