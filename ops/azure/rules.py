"""The alerts: when each is asked for, and how bad it is. What it asks is in `ops/kql/alerts`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where it says what an alert means and what to do, with a section for each.
RUNBOOKS: Final = "docs/runbooks.md"

QUERIES: Final = Path(__file__).parents[1] / "kql" / "alerts"


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that tells the operators.

    Parameters:
      name: That of its query, and of its section among the runbooks.
      meaning: One sentence.
      severity: Someone gets up at night for 0 and 1, looks at 2 in the morning, and at 3 sometime.
      window: How far back the query looks, as an ISO 8601 duration.
      frequency: How often it is asked, likewise.
      threshold: Rows of the answer that are no reason yet.
    """

    name: str
    meaning: str
    severity: int
    window: str
    frequency: str
    threshold: int = 0

    def query(self) -> str:
        """Read what it asks."""
        return (QUERIES / f"{self.name}.kql").read_text()

    def text(self) -> str:
        """Write it as `infra/` reads it."""
        content = {
            "description": f"{self.meaning} What to do: {RUNBOOKS}#{self.name}",
            "severity": self.severity,
            "frequency": self.frequency,
            "window": self.window,
            "threshold": self.threshold,
            "query": self.query(),
        }
        return json.dumps(content, indent=2) + "\n"


ALERTS: Final = (
    Alert("workers-silent", "Events are accepted, and no worker works on any.", 1, "PT15M", "PT5M"),
    Alert("no-telemetry", "The clock is silent: it, or the way of telemetry, is down.", 1, "PT15M", "PT5M"),
    Alert("unhealthy", "A process does not get through to the queue or to the store.", 1, "PT15M", "PT5M"),
    Alert("ingress-errors", "The ingress fails at more than one request in a hundred.", 1, "PT15M", "PT5M"),
    Alert("queue-lag", "Events wait for a worker for more than half a minute.", 2, "PT15M", "PT5M"),
    Alert("dead-events", "Events were given up.", 2, "PT15M", "PT5M"),
    Alert("failures-rising", "An error is three times as frequent as before.", 2, "PT2H", "PT15M"),
    Alert("retry-storm", "Many events are tried again and again with the same error.", 2, "PT30M", "PT10M"),
    Alert("events-overlooked", "The queue loses messages, or workers die.", 2, "PT15M", "PT5M"),
    Alert("events-unfinished", "Many of the events of a day did not end.", 2, "P1D", "PT1H"),
    Alert("missed-ticks", "Schedules fired late, or not at all.", 2, "PT1H", "PT15M"),
    Alert("token-spending", "A model takes more than five million tokens in an hour.", 2, "PT1H", "PT15M"),
    Alert("container-failures", "More than half of the runs of an agent fail.", 3, "PT1H", "PT15M"),
)


def alert_files() -> dict[str, str]:
    """Give the text of each alert, by its path in the repository."""
    return {f"ops/azure/alerts/{alert.name}.json": alert.text() for alert in ALERTS}
