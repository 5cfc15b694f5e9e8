"""What agents measure themselves, as a metric of operators: bounded, as each name is a series of its own."""

from typing import Final

from opentelemetry.metrics import get_meter

from lightning.telemetry import names

#: Names of metrics of all agents together that a process tells apart; of further ones only that they are.
MAX_NAMES: Final = 500

OTHER: Final = "other"

#: Runs of a command in an image have no agent, and may be called anything.
NO_AGENT: Final = "image"


class AgentMetrics:
    """The metric ``lightning.agent.metric``: the latest value by agent, name and unit, of whichever run."""

    def __init__(self) -> None:
        self._gauge = get_meter(__name__).create_gauge(
            names.AGENT_METRIC, description="The latest value of what an agent measures itself"
        )
        self._known = set[tuple[str, str, str]]()

    def note(self, agent: str | None, name: str, value: float, unit: str | None) -> None:
        """Note a value.

        Parameters:
          agent: The agent; None where a run has none.
          name: What it calls the metric.
          value: The value.
          unit: The unit, if it names one.
        """
        series = (agent or NO_AGENT, name, unit or "")
        if series not in self._known:
            if len(self._known) >= MAX_NAMES:
                series = (series[0], OTHER, "")
            else:
                self._known.add(series)
        attributes = {names.AGENT: series[0], names.METRIC: series[1], names.UNIT: series[2]}
        self._gauge.set(value, attributes)
