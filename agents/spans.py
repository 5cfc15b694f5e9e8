"""The spans of an agent in the trace of its run (OTLP in JSON), with the standard library alone.

Each is sent to ``OTEL_EXPORTER_OTLP_ENDPOINT`` as it ends. Whether it arrives makes no difference to the
agent: nothing is printed, and nobody is waited for long.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, MutableMapping
from contextlib import contextmanager, suppress

from agents.http import request

TYPE_CHECKING = False  # `typing` takes long to load
if TYPE_CHECKING:
    from typing import Any

#: An agent that is done waits so long for its span to be taken.
PATIENCE_SECONDS = 5.0

#: W3C Trace Context, of which the platform writes this version.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_OK, _ERROR = 1, 2


def invoke(
    agent: str,
    work: Callable[[], int],
    environment: MutableMapping[str, str],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> int:
    """Run an agent within a span ``invoke_agent NAME``, if the run belongs to a trace.

    While it runs, ``TRACEPARENT`` names this span, so that what it starts or measures hangs below.

    Parameters:
      agent: Its name.
      work: What it does.
      environment: The variables of the run.
      patience_seconds: So long an agent that is done waits for its span to be taken.

    Returns:
      The exit code that the work gives; what it raises is raised.
    """
    traced = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    headers = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    if traced is None or not endpoint:
        return work()
    trace_id, parent_id, flags = traced.groups()
    span_id = os.urandom(8).hex()
    environment["TRACEPARENT"] = f"00-{trace_id}-{span_id}-{flags}"
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent_id,
        "name": f"invoke_agent {agent}",
        "kind": 1,  # internal
        "startTimeUnixNano": str(time.time_ns()),
    }
    failure = ""
    try:
        code = work()
        failure = f"exit code {code}" if code else ""
    except SystemExit as ended:
        failure = f"exit code {ended.code if isinstance(ended.code, int) else 1}" if ended.code else ""
        raise
    except BaseException as error:
        failure = type(error).__name__  # not what it says: that is for the log alone
        raise
    finally:
        said = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
        _send(endpoint, headers, _request(span, agent, said, failure), patience_seconds)
    return code


class Spans:
    """Opens spans below that of an agent, where the run belongs to a trace.

    Parameters:
      agent: Its name.
      environment: The variables of the run.
    """

    def __init__(self, agent: str, environment: Mapping[str, str]) -> None:
        self._agent = agent
        self._above = _TRACEPARENT.fullmatch(environment.get("TRACEPARENT", ""))
        self._endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        self._headers = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
        self._sending: list[threading.Thread] = []

    @contextmanager
    def open(self, name: str, attributes: Mapping[str, str | int]) -> Generator[Opened]:
        """Open a span for as long as a block lasts; one that raises makes it an error.

        Parameters:
          name: The operation, and what it is done to.
          attributes: What is known before.
        """
        span_id, begun = os.urandom(8).hex(), str(time.time_ns())
        trace_id, parent_id, flags = ("", "", "") if self._above is None else self._above.groups()
        opened = Opened(None if self._above is None else f"00-{trace_id}-{span_id}-{flags}", attributes)
        try:
            yield opened
        except BaseException as error:
            opened.failure = opened.failure or type(error).__name__
            raise
        finally:
            if self._above is not None and self._endpoint:
                where = {"traceId": trace_id, "spanId": span_id, "parentSpanId": parent_id}
                span = {**where, "name": name, "kind": 1, "startTimeUnixNano": begun}  # internal
                self._send(_request(span, self._agent, opened.attributes, opened.failure))

    def close(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for spans that are on their way, but not for long."""
        deadline = time.monotonic() + patience_seconds
        for each in self._sending:
            each.join(max(0.0, deadline - time.monotonic()))

    def _send(self, request: Mapping[str, Any]) -> None:
        self._sending = [each for each in self._sending if each.is_alive()]
        arguments = (self._endpoint, self._headers, request, PATIENCE_SECONDS)
        sending = threading.Thread(target=_post, args=arguments, daemon=True)
        with suppress(RuntimeError):  # the run may have no more processes
            sending.start()
            self._sending.append(sending)


class Opened:
    """A span that is open.

    Parameters:
      trace: What names it as a parent, as ``TRACEPARENT``; None where the run belongs to no trace.
      attributes: What is known of it.
    """

    def __init__(self, trace: str | None, attributes: Mapping[str, str | int]) -> None:
        self.trace = trace
        self.attributes = dict(attributes)
        self.failure = ""


def _request(
    span: Mapping[str, Any], agent: str, said: Mapping[str, str | int], failure: str
) -> dict[str, Any]:
    # a clock that was set back while the agent ran makes no span end before it began
    ends = max(time.time_ns(), int(span["startTimeUnixNano"]))
    ended = {
        **span,
        "endTimeUnixNano": str(ends),
        "attributes": _attributes({**said, **({"error.type": failure} if failure else {})}),
        "status": {"code": _ERROR, "message": failure} if failure else {"code": _OK},
    }
    scope = {"scope": {"name": "agents"}, "spans": [ended]}
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes({"service.name": agent})}, "scopeSpans": [scope]}
        ]
    }


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
        for name, value in values.items()
    ]


def _send(endpoint: str, headers: str, spans: Mapping[str, Any], patience_seconds: float) -> None:
    """Send it, in a thread that is left alone when it takes too long, whatever it waits for."""
    with suppress(Exception):  # the log is whole before anybody is waited for
        sys.stdout.flush()
    try:
        arguments = (endpoint, headers, spans, patience_seconds)
        sending = threading.Thread(target=_post, args=arguments, daemon=True)
        sending.start()
        sending.join(patience_seconds)
    except RuntimeError:  # the run may have no more processes
        return


def _post(endpoint: str, headers: str, spans: Mapping[str, Any], timeout_seconds: float) -> None:
    try:
        url = endpoint.rstrip("/") + "/v1/traces"
        said = {**_read(headers), "content-type": "application/json"}
        with request(
            "POST", url, said, json.dumps(spans).encode(), timeout_seconds=timeout_seconds
        ) as answer:
            answer.read()
    except Exception:  # noqa: BLE001, S110 -- whatever it is, it is not the agent's
        pass


def _read(headers: str) -> dict[str, str]:
    """Read headers as OpenTelemetry writes them: ``name=value,...``, encoded as in URLs."""
    pairs = (each.partition("=") for each in headers.split(","))
    return {name.strip().lower(): _decoded(value.strip()) for name, _, value in pairs if name.strip()}


def _decoded(text: str) -> str:
    """Resolve what is written ``%20`` in a URL; `urllib.parse` takes long to load."""
    return re.sub("%([0-9A-Fa-f]{2})", lambda each: chr(int(each[1], 16)), text)
