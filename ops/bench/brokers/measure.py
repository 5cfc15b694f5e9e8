"""Measures one system: it is filled, emptied, and then sent one message at a time."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ops.bench import gauge
from ops.bench.brokers import step
from ops.bench.brokers.catalogue import System
from ops.bench.brokers.crew import WARM_UP, open_crew
from ops.bench.brokers.servers import Serving
from ops.bench.plan import spread

#: Numbers of the messages that ask for a step.
_FIRST_STEP = 2_000_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured of each system: whatever is reached first ends it.

    Parameters:
      messages: To the actor that does nothing.
      steps: To the actor that does one step of the platform.
      idle: Sent one at a time.
      flood_seconds: For sending as fast as possible.
      drain_seconds: For working on what was sent.
      idle_seconds: For what is sent one at a time.
      system_seconds: For everything of one system.
      all_seconds: For all systems.
    """

    messages: int
    steps: int
    idle: int
    flood_seconds: float
    drain_seconds: float
    idle_seconds: float
    system_seconds: float
    all_seconds: float


FULL = Amounts(40_000, 1500, 100, 3, 15, 7, system_seconds=60, all_seconds=350)
QUICK = Amounts(1000, 50, 10, 0.3, 3, 0.8, system_seconds=15, all_seconds=50)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found about one system.

    Parameters:
      sent: Messages to the actor that does nothing.
      enqueued_per_second: By all senders together.
      drained_per_second: By all workers together.
      idle_p50_ms: From before the call that sends until the actor runs.
      idle_p99_ms: Of the same.
      cpu_us_per_message: Processor time of all processes, the server's too, while filled and emptied.
      others: Share of the machine's processors that other programs took meanwhile.
      steps: Steps of the platform that were asked for.
      steps_per_second: By all workers together.
      lost: Messages that never came, of both actors, and steps that were not done.
      doubled: Deliveries beyond the first of a message, of both actors.
      refused: Why the broker did not take some messages.
    """

    sent: int
    enqueued_per_second: float
    drained_per_second: float
    idle_p50_ms: float
    idle_p99_ms: float
    cpu_us_per_message: float
    others: float
    steps: int
    steps_per_second: float
    lost: int
    doubled: int
    refused: str


def measure(system: System, amounts: Amounts, folder: Path, *, deadline: float) -> Measured:
    """Measure a system with a server of its own.

    Parameters:
      system: The system.
      amounts: How much is measured.
      folder: Empty; the data of all processes goes there.
      deadline: When to give up, on the monotonic clock.

    Raises:
      ChildFailed: A process of the measurement failed.
      ServerFailed: The server did not come up.
    """
    log = folder / "log.db"
    steps = range(_FIRST_STEP, _FIRST_STEP + WARM_UP + amounts.steps)
    step.record(log, steps)
    with ExitStack() as stack:
        serving = Serving(str(folder / "queue.db"), [])
        if system.start is not None:
            serving = stack.enter_context(system.start(folder))
        crew = stack.enter_context(open_crew(system, serving, folder, deadline=deadline))
        crew.open("noop")
        before, meanwhile = crew.cpu_seconds(), gauge.Meanwhile()
        enqueued = crew.flood(range(WARM_UP + amounts.messages), amounts.flood_seconds)
        drained = crew.drain(amounts.drain_seconds)
        sent, cpu = len(crew.sent), crew.cpu_seconds() - before
        others = meanwhile.others(cpu)
        p50, p99, _ = spread(crew.one_at_a_time(amounts.idle, amounts.idle_seconds))
        crew.close()
        crew.open("step")
        crew.flood(steps, amounts.flood_seconds)
        stepped = crew.drain(amounts.drain_seconds)
        crew.close()
        asked = crew.sent & set(steps)
        undone = len(asked & crew.counts.keys()) - step.done(log, asked)
    return Measured(
        sent=len(crew.sent - asked),
        enqueued_per_second=enqueued,
        drained_per_second=drained,
        idle_p50_ms=p50,
        idle_p99_ms=p99,
        cpu_us_per_message=cpu / sent * 1e6,
        others=others,
        steps=len(asked),
        steps_per_second=stepped,
        lost=crew.lost() + max(0, undone),
        doubled=crew.doubled(),
        refused="".join(crew.refused[:1]),
    )
