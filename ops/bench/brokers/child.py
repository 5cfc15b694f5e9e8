"""A process that sends or works: a plan and then commands on its standard input, answers on its output."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from ops.bench.brokers.drivers import open_driver
from ops.bench.brokers.job import open_job
from ops.bench.brokers.plan import Actor, Plan, Quota
from ops.bench.brokers.sending import one_at_a_time
from ops.bench.brokers.sightings import Reader


class Member:
    """What one process does with the queue of one actor.

    Parameters:
      plan: Where everything is.
      actor: The actor.
    """

    def __init__(self, plan: Plan, actor: Actor) -> None:
        self._plan = plan
        self._job = open_job(actor, plan)
        self._driver = open_driver(plan, f"bench-{actor}", self._job)

    def flood(self, first: int, count: int, seconds: float, at_a_time: int) -> dict[str, Any]:
        """Send messages as fast as they are taken."""
        began = time.perf_counter()
        quota = Quota(first, count, seconds)
        failed = self._driver.flood(quota, at_a_time)
        return {"sent": quota.taken(), "seconds": time.perf_counter() - began, "failed": failed}

    def work(self, threads: int) -> dict[str, Any]:
        """Begin to work on what is in the queue."""
        self._driver.work(threads)
        return {}

    def idle(self, first: int, count: int, seconds: float) -> dict[str, Any]:
        """Send one message at a time."""
        reader = Reader(self._plan.watched_paths())
        sent, times = one_at_a_time(self._driver.send, reader, first, count, seconds)
        reader.close()
        return {"sent": sent, "times": times}

    def close(self) -> dict[str, Any]:
        """Finish what is under way."""
        self._driver.close()
        self._job.close()
        return {}


def serve(plan: Plan, actor: Actor, answer: Callable[[dict[str, Any]], object]) -> None:
    """Open the queue of an actor, and do what is commanded until it is to be closed."""
    member = Member(plan, actor)
    answer({})
    do = None
    while do != "close":
        # whoever gave commands may have ended
        command = orjson.loads(sys.stdin.buffer.readline() or b'{"do": "close"}')
        do = command.pop("do")
        answer(getattr(member, do)(**command))


def main() -> None:
    """Serve one queue after the other until there are no more."""
    # what libraries print is not an answer
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        plan = Plan(**orjson.loads(sys.stdin.buffer.readline()))
        # no command comes before the one ahead of it was answered: a fork leaves none in a buffer
        while line := sys.stdin.buffer.readline():
            # some libraries work only once in a process
            pid = os.fork()
            if pid == 0:
                serve(
                    plan, orjson.loads(line)["actor"], lambda what: answers.write(orjson.dumps(what) + b"\n")
                )
                return
            if os.waitpid(pid, 0)[1]:
                sys.exit("the queue was not served to its end")


if __name__ == "__main__":
    main()
