"""`python -m ops.chaos.servicebus`: a storm over the broker alone, after which no message may be missing.

Connections are closed, cut and detached, the service is busy, refuses connections and loses its locks, and
workers are killed, while senders send; at the end every message must have been worked on, and none be a dead
letter.
"""

import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
from dramatiq.errors import BrokerConnectionError, QueueJoinTimeout

from ops.chaos.servicebus_scene import THREADS, WORKERS, Rage, Scene
from ops.chaos.servicebus_worker import connect, declare

SENDERS: Final = 4

#: Senders send so many at a time when they have time.
BURST: Final = 20

#: Work on a message takes up to this at least, so that whoever is killed has some under way.
LEAST_WORK_SECONDS: Final = 0.04

#: How long the last messages may take once all are sent.
QUIET_SECONDS: Final = 300.0

#: After a message that may not have been sent, and while none may be.
_RETRY_SECONDS: Final = 0.1


@dataclass
class Verdict:
    """What was seen.

    Parameters:
      messages: How many were sent.
      done: How often each thing happened.
      again: Deliveries beyond the first of a message that were worked on to their end.
      problems: Everything that should not be; empty is the aim.
      seconds: How long it took.
    """

    messages: int
    done: Counter[str] = field(default_factory=Counter[str])
    again: int = 0
    problems: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def summary(self) -> str:
        """Say it in one line."""
        deeds = ", ".join(f"{count} {name}" for name, count in sorted(self.done.items()))
        verdict = "PASSED" if not self.problems else "FAILED: " + "; ".join(self.problems)
        return f"{self.messages} messages in {self.seconds:.0f} s, {self.again} twice; {deeds}: {verdict}"


def storm(folder: Path, *, messages: int, seconds: float, seed: int, pause: tuple[float, float]) -> Verdict:
    """Send messages while things go wrong, and judge.

    Parameters:
      folder: An empty directory.
      messages: How many.
      seconds: Over which time they are sent, in bursts, with work for half of what the workers can do
        meanwhile; 0 is as fast as they are taken.
      seed: Decides what goes wrong and when.
      pause: The shortest and the longest time between two things that go wrong, in seconds.
    """
    verdict, started = Verdict(messages), time.monotonic()
    with ExitStack() as stack:
        work_seconds = max(LEAST_WORK_SECONDS, seconds * WORKERS * THREADS / messages)
        scene = Scene(folder, most_seconds=work_seconds)
        stack.callback(scene.close)
        broker = connect(scene.connection_string)
        stack.callback(broker.close)
        note = declare(broker, scene.log)
        with Rage(scene, seed, pause) as rage:
            _send_all(note.send, messages, seconds, rage.share)
            try:
                broker.join("default", timeout=int(QUIET_SECONDS * 1000))
            except QueueJoinTimeout as error:
                verdict.problems.append(str(error))
        verdict.done = rage.done
        judge(verdict, scene.noted(), len(broker.dead_letters()))
        if missing := rage.missing():
            verdict.problems.append(f"too little went wrong to prove anything: no {', '.join(missing)}")
    verdict.seconds = time.monotonic() - started
    return verdict


def judge(verdict: Verdict, noted: list[int], dead: int) -> None:
    """Judge what became of the messages.

    Parameters:
      verdict: Is told of the problems.
      noted: The numbers of those that were worked on, in any order.
      dead: How many were given up.
    """
    found, expected = set(noted), set(range(verdict.messages))
    verdict.again = len(noted) - len(found)
    if lost := expected - found:
        verdict.problems.append(f"{len(lost)} messages were lost, such as {min(lost)}")
    if strange := found - expected:
        verdict.problems.append(f"{len(strange)} messages were never sent, such as {min(strange)}")
    if dead:
        verdict.problems.append(f"{dead} messages were given up")


def _send_all(
    send: Callable[[int], object], messages: int, seconds: float, share: Callable[[], float]
) -> None:
    """Send from several threads, again and again what may not have been sent: then it runs twice."""
    numbers, started = itertools.count(), time.monotonic()

    def send_some() -> None:
        while (number := next(numbers)) < messages:  # atomic in CPython
            due = started + seconds * (number // BURST * BURST) / messages
            time.sleep(max(0.0, due - time.monotonic()))
            while number > messages * share() or not _is_sent(send, number):
                time.sleep(_RETRY_SECONDS)

    with ThreadPoolExecutor(SENDERS) as pool:
        for sending in [pool.submit(send_some) for _ in range(SENDERS)]:
            sending.result()


def _is_sent(send: Callable[[int], object], number: int) -> bool:
    try:
        send(number)
    except BrokerConnectionError:
        return False
    return True


def main(
    seconds: Annotated[
        float, typer.Option(help="Over which time they are sent; 0: as fast as it goes.")
    ] = 600,
    messages: Annotated[int, typer.Option(help="How many messages.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Decides what goes wrong and when.")] = 1,
) -> None:
    """Run the storm, and print its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = storm(Path(folder), messages=messages, seconds=seconds, seed=seed, pause=(1.0, 5.0))
    print(verdict.summary())
    sys.exit(bool(verdict.problems))


if __name__ == "__main__":
    typer.run(main)
