"""Measures how many messages wait in each queue, whenever metrics are sent."""

from collections.abc import Iterable, Iterator, Sequence

import structlog
from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from brokers import AnyBroker
from lightning.telemetry import names

_log = structlog.get_logger(__name__)


class QueueDepth:
    """The metric ``lightning.queue.depth``: messages that wait, are put off or are worked on.

    Nothing is asked of the queue where metrics go nowhere.

    Parameters:
      broker: The broker.
      queues: The names of the queues.
    """

    def __init__(self, broker: AnyBroker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = queues
        self._closed = False
        get_meter(__name__).create_observable_gauge(
            names.QUEUE_DEPTH, [self._observe], unit="{message}", description="Messages of a queue"
        )

    def close(self) -> None:
        """Ask no more: the broker would be opened again."""
        self._closed = True

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return () if self._closed else list(self._depths())

    def _depths(self) -> Iterator[Observation]:
        for queue in self._queues:
            try:
                yield Observation(self._broker.qsize(queue), {names.QUEUE: queue})
            except Exception as error:  # noqa: BLE001 -- a metric that fails must not cost the others
                _log.warning("queue_not_measured", queue=queue, error=str(error))
                return
