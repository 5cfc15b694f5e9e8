"""What steps are measured by: how long they take and how they end, and how long messages waited for one."""

import time

from opentelemetry.metrics import get_meter

from actors.outcome import Again, Done, Outcome
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.telemetry import names
from lightning.telemetry.lean_metrics import Measure


class StepMetrics:
    """Counts and times steps."""

    def __init__(self) -> None:
        meter = get_meter(__name__)
        self._durations = Measure(
            meter.create_histogram(
                names.STEP_DURATION,
                unit="s",
                description="From an event's claim to the commit of its outcome",
            )
        )
        self._attempts = Measure(
            meter.create_histogram(
                names.EVENT_ATTEMPTS, unit="{attempt}", description="Attempts that events took that are over"
            )
        )
        self._dead = meter.create_counter(
            names.EVENTS_DEAD, unit="{event}", description="Events that were given up"
        )
        self._lag = Measure(
            meter.create_histogram(
                names.QUEUE_LAG,
                unit="s",
                description="From the sending of an event's message to its first claim",
            )
        )

    def claimed(self, event: EventDocument, sent_at: float) -> None:
        """Note the wait of an event that is worked on for the first time; later waits are on purpose."""
        if event["claims"] == 1:
            self._lag(max(0.0, time.time() - sent_at), {names.TYPE: event["type"]})

    def ended(self, event: EventDocument, outcome: Outcome | LightningError, seconds: float) -> None:
        """Note a step whose outcome is written.

        Parameters:
          event: As it was claimed.
          outcome: What came of it.
          seconds: What it took.
        """
        kind = {names.TYPE: event["type"]}
        word = "done" if isinstance(outcome, Done) else "again" if isinstance(outcome, Again) else "failed"
        self._durations(seconds, {**kind, names.OUTCOME: word})
        if word == "done":
            self._attempts(event["attempts"], kind)

    def died(self, event: EventDocument, error: LightningError) -> None:
        """Note an event that was given up."""
        self._attempts(event["attempts"], {names.TYPE: event["type"]})
        self._dead.add(1, {names.TYPE: event["type"], names.ERROR_CODE: error.code})
