"""What was asked of the brokers, and whether it was reached in this run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.bench.brokers.catalogue import LINK_MS
from ops.bench.brokers.measure import Measured

#: What was found about a system, or why nothing was.
Outcome = Measured | str


@dataclass(frozen=True, slots=True)
class Asked:
    """A figure that was asked for.

    Parameters:
      text: What it is to be.
      system: Key of the system that it is about.
      figure: Reads it.
      form: Shows it.
      beside: Key of the system whose own it is divided by.
      at_least: The least that is enough.
      below: What it must stay below.
    """

    text: str
    system: str
    figure: Callable[[Measured], float]
    form: str
    beside: str | None = None
    at_least: float = float("-inf")
    below: float = float("inf")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a figure that was asked for.

    Parameters:
      asked: What it was to be.
      found: What it is; empty where it was not measured.
      reached: Whether that is enough; None where it was not measured.
    """

    asked: str
    found: str
    reached: bool | None

    def __str__(self) -> str:
        if self.reached is None:
            return f"not measured: {self.asked}"
        return f"{'reached' if self.reached else 'NOT reached'}: {self.asked}: {self.found}"


ASKED = (
    Asked(
        "SQLite drains at least 3 times what Dramatiq on Redis does",
        "sqlite",
        lambda of: of.drained_per_second,
        "{:.1f} times",
        beside="dramatiq-redis",
        at_least=3,
    ),
    Asked(
        "SQLite drains at least 40 % of Dramatiq's own ceiling",
        "sqlite",
        lambda of: of.drained_per_second,
        "{:.0%}",
        beside="stub",
        at_least=0.4,
    ),
    Asked("SQLite, idle: p50 below 2 ms", "sqlite", lambda of: of.idle_p50_ms, "{:.2f} ms", below=2),
    Asked(
        "Service Bus at 5 ms, one process with 32 threads: at least 1,000 messages settled in a second",
        "servicebus-32",
        lambda of: of.drained_per_second,
        "{:,.0f}",
        at_least=1000,
    ),
    Asked(
        "Service Bus at 5 ms, 16 threads of one process: at least 2,000 messages enqueued in a second",
        "servicebus-32",
        lambda of: of.enqueued_per_second,
        "{:,.0f}",
        at_least=2000,
    ),
    Asked(
        "Service Bus at 5 ms, idle: p99 less than 60 ms above the link",
        "servicebus-5",
        lambda of: of.idle_p99_ms - LINK_MS,
        "{:.1f} ms",
        below=60,
    ),
)


def verdicts(outcomes: Mapping[str, Outcome]) -> list[Verdict]:
    """Judge a run.

    Parameters:
      outcomes: By the keys of the systems.
    """
    return [_verdict(asked, outcomes) for asked in ASKED]


def _verdict(asked: Asked, outcomes: Mapping[str, Outcome]) -> Verdict:
    found = outcomes.get(asked.system)
    beside = None if asked.beside is None else outcomes.get(asked.beside)
    if not isinstance(found, Measured) or (asked.beside and not isinstance(beside, Measured)):
        return Verdict(asked.text, "", None)
    value = asked.figure(found)
    if isinstance(beside, Measured):
        value /= asked.figure(beside)
    return Verdict(asked.text, asked.form.format(value), asked.at_least <= value < asked.below)
