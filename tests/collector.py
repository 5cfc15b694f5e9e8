"""A collector of OpenTelemetry on loopback: it takes OTLP in protobuf, and keeps what it was sent."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

#: Of each path the message, and the names of its parts from the outermost on.
SIGNALS: dict[str, tuple[Any, list[str]]] = {
    "/v1/traces": (ExportTraceServiceRequest, ["resourceSpans", "scopeSpans", "spans"]),
    "/v1/logs": (ExportLogsServiceRequest, ["resourceLogs", "scopeLogs", "logRecords"]),
    "/v1/metrics": (ExportMetricsServiceRequest, ["resourceMetrics", "scopeMetrics", "metrics"]),
}


@dataclass
class Collector:
    """What was sent, and how it is answered: with `status`, after `seconds` or when it is over."""

    url: str = ""
    status: int = 200
    seconds: float = 0.0
    taken: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def of(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """Give what was taken at a path, each with the service that it came from."""
        return [(service, item) for at, service, item in self.taken if at == path]

    def take(self, path: str, body: bytes) -> None:
        """Keep what a message holds."""
        kind, (resources, scopes, items) = SIGNALS[path]
        for resource in MessageToDict(kind.FromString(body)).get(resources, []):
            service = attributes(resource["resource"])["service.name"]
            self.taken += [(path, service, item) for scope in resource[scopes] for item in scope[items]]


def attributes(item: dict[str, Any]) -> dict[str, Any]:
    """Give the attributes of something; numbers as OTLP writes them, which is as text."""
    return {each["key"]: next(iter(each["value"].values()), None) for each in item.get("attributes", [])}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector for as long as the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests += 1
            if collector.over.wait(collector.seconds):
                return
            if collector.status == 200:
                collector.headers.append(dict(self.headers))
                packed = self.headers.get("content-encoding") == "gzip"
                collector.take(self.path, gzip.decompress(body) if packed else body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.over.set()
            server.shutdown()
            thread.join()
