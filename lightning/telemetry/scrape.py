"""What the process measures, in Prometheus' text format, for whoever shows the token."""

import hmac
from dataclasses import dataclass

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import MetricReader
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Scraped:
    """The answer to a request."""

    status: int
    media_type: str
    body: bytes


class Scrape:
    """The metrics of this process since it began, the process's own memory and time among them.

    Nothing is measured at a time of its own: queues are asked for their depth when somebody asks here.

    Parameters:
      token: What has to be shown.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.reader: MetricReader = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)

    def answer(self, authorization: str | None) -> Scraped:
        """Answer a request; it may take as long as asking the queues does.

        Parameters:
          authorization: The header, which is to show the token (RFC 6750).
        """
        scheme, _, shown = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            shown.strip().encode(), self._token.encode()
        ):
            return Scraped(
                401, "text/plain; charset=utf-8", b"show LIGHTNING_METRICS_TOKEN as a bearer token\n"
            )
        return Scraped(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
