"""The processes that send to one queue and work on it, and what they saw."""

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ops.bench import gauge
from ops.bench.brokers.catalogue import System
from ops.bench.brokers.plan import Actor, Plan
from ops.bench.brokers.process import Child, ChildFailed
from ops.bench.brokers.servers import Serving
from ops.bench.brokers.sightings import Reader, Sighting, make_room

#: Threads of one process that send, or tasks where there are no threads.
SENDERS = 16

#: What is under way when the time is up, and a connection that opens slowly, may take so much longer.
_GRACE_SECONDS = 20.0

#: When nothing came for so long, nothing more will come.
_QUIET_SECONDS = 5.0

#: Messages that are sent before it is measured how fast: connections, caches.
WARM_UP = 32
_WARM_UP_SECONDS = 1.0

_LOOK_SECONDS = 0.01

#: Numbers of the messages that are sent one at a time.
_IDLE_FIRST = 1_000_000


@dataclass(slots=True)
class Crew:
    """Processes that send and work.

    Parameters:
      system: What they use.
      senders: Those that send.
      workers: Those that work; they begin when they are told.
      reader: Of what the workers see.
      pids: All of them, and the server's.
      deadline: When the measurement ends in any case, on the monotonic clock.
      seen: Place of the process, number and time of each delivery.
      counts: Deliveries of each message.
      sent: Numbers of the messages that the broker took.
      refused: Why it did not take others.
      begun: Place in `seen` where the queue that is open began.
    """

    system: System
    senders: Sequence[Child]
    workers: Sequence[Child]
    reader: Reader
    pids: Sequence[int]
    deadline: float
    seen: list[tuple[int, Sighting]] = field(default_factory=list[tuple[int, Sighting]])
    counts: Counter[int] = field(default_factory=Counter[int])
    sent: set[int] = field(default_factory=set[int])
    refused: list[str] = field(default_factory=list[str])
    begun: int = 0

    def open(self, actor: Actor) -> None:
        """Open the queue of an actor, in all processes."""
        self.begun = len(self.seen)
        self._ask_all({"do": "open", "actor": actor})

    def flood(self, numbers: range, seconds: float) -> float:
        """Send messages as fast as they are taken; give how many were taken in a second.

        Raises:
          ChildFailed: None was taken.
        """
        self._send(numbers[:WARM_UP], _WARM_UP_SECONDS)
        per_second = self._send(numbers[WARM_UP:], seconds)
        if not per_second:
            raise ChildFailed(f"no message was taken: {'; '.join(self.refused[:1]) or 'the time was up'}")
        return per_second

    def _send(self, numbers: range, seconds: float) -> float:
        share = len(numbers) // len(self.senders)
        starts = [numbers[0] + place * share for place in range(len(self.senders))]
        for sender, start in zip(self.senders, starts, strict=True):
            command = {"do": "flood", "first": start, "count": share, "seconds": seconds}
            sender.tell({**command, "at_a_time": SENDERS // len(self.senders)})
        longest, before = 0.0, len(self.sent)
        for sender, start in zip(self.senders, starts, strict=True):
            found = sender.hear(seconds + _GRACE_SECONDS)
            failed = dict(found["failed"])
            self.sent |= set(range(start, start + found["sent"])) - set(failed)
            self.refused += failed.values()
            longest = max(longest, found["seconds"])
        return (len(self.sent) - before) / longest

    def drain(self, seconds: float) -> float:
        """Have all messages worked on; give how many in a second.

        Raises:
          ChildFailed: None came, or they still come after so many seconds.
        """
        for worker in self.workers:
            worker.tell({"do": "work", "threads": self.system.threads})
        for worker in self.workers:
            worker.hear(_GRACE_SECONDS)
        deadline = min(self.deadline, time.monotonic() + seconds + _GRACE_SECONDS)
        changed = time.monotonic()
        while self.lost() and time.monotonic() < changed + _QUIET_SECONDS:
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.lost()} messages left when the time was up")
            time.sleep(_LOOK_SECONDS)
            if self.look():
                changed = time.monotonic()
        if len(self.seen) == self.begun:
            raise ChildFailed(f"none of {len(self.sent)} messages came within {_QUIET_SECONDS:.0f} s")
        return steady_rate(self.seen[self.begun :])

    def one_at_a_time(self, count: int, seconds: float) -> list[float]:
        """Send each message once the one before came; give how long each took, in seconds.

        Raises:
          ChildFailed: None came.
        """
        command = {"do": "idle", "first": _IDLE_FIRST, "count": count, "seconds": seconds}
        found = self.senders[0].ask(command, seconds + _GRACE_SECONDS)
        self.sent |= set(found["sent"])
        if not found["times"]:
            raise ChildFailed("no message that was sent alone came")
        return found["times"]

    def look(self) -> int:
        """Take note of what is new; give how many deliveries that are."""
        new = list(self.reader.poll())
        self.seen += new
        self.counts.update(number for _, (number, _) in new)
        return len(new)

    def cpu_seconds(self) -> float:
        """Give the processor time that all processes have taken, with their children."""
        return sum(gauge.tree_cpu_seconds(pid) for pid in self.pids)

    def lost(self) -> int:
        """Count the messages that were taken and never came."""
        return len(self.sent - self.counts.keys())

    def doubled(self) -> int:
        """Count the deliveries beyond the first of a message."""
        return sum(self.counts.values()) - len(self.counts)

    def close(self) -> None:
        """Finish what is under way on the queue, and take note of the last deliveries."""
        self._ask_all({"do": "close"})
        self.look()

    def _ask_all(self, command: dict[str, str]) -> None:
        children = {child.pid: child for child in (*self.senders, *self.workers)}.values()
        for child in children:
            child.tell(command)
        for child in children:
            child.hear(_GRACE_SECONDS)


@contextmanager
def open_crew(system: System, serving: Serving, folder: Path, *, deadline: float) -> Generator[Crew]:
    """Start the processes of a system.

    Parameters:
      system: The system.
      serving: Its server.
      folder: Where its files are, among them the log that steps work on.
      deadline: When the measurement ends in any case, on the monotonic clock.
    """
    files = [folder / f"worker-{place}.seen" for place in range(system.processes)]
    for file in files:
        make_room(file)
    plan = Plan(system.driver, serving.url, str(folder / "log.db"), "", [str(file) for file in files])
    with ExitStack() as stack:

        def start(name: str, sightings: str) -> Child:
            child = Child(replace(plan, sightings=sightings), folder / f"{name}.log", deadline)
            stack.callback(child.end)
            return child

        reader = Reader(files)
        stack.callback(reader.close)
        workers = [start(file.stem, str(file)) for file in files]
        senders = workers if system.within else [start("sender", "")]
        pids = {child.pid for child in (*workers, *senders)} | set(serving.pids)
        yield Crew(system, senders, workers, reader, sorted(pids), deadline)


def steady_rate(seen: Sequence[tuple[int, Sighting]]) -> float:
    """Give the deliveries in a second, from when the last of the processes had its first one.

    Where most came before that, from the very first.
    """
    firsts: dict[int, int] = {}
    for process, (_, at) in seen:
        firsts[process] = min(at, firsts.get(process, at))
    for begin in (max(firsts.values()), min(firsts.values())):
        times = [at for _, (_, at) in seen if at > begin]
        if len(times) >= len(seen) / 2:
            return len(times) / (max(times) - begin) * 1e9
    return 0.0
