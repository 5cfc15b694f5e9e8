"""Run as a program: tells of installations that are well or ill, by the product's own names and instruments.

`python -m tests.ops.monitor.scenes FOLDER SCENE CONNECTION...`: each scene in a process of its own.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from opentelemetry import trace

from actors.step_metrics import StepMetrics
from actors.task_end import tell_end
from lightning.llm.port import Usage
from lightning.llm.token_metrics import count_tokens
from lightning.log.moves import NEW, Moves
from lightning.settings import Settings
from lightning.tasks import TaskMetadata, TaskResultMetadata
from lightning.telemetry import names
from lightning.telemetry.setup import configure_from
from worker.queue_depth import QueueDepth

MINUTE = 60.0
CHAT, DELIVERY = "llm.chat", "webhook.delivery"


class Depths:
    """A queue in which two messages wait."""

    def qsize(self, _queue: str) -> int:
        return 2


def taken(status: int, *, minutes_ago: float = 0, code: str = "") -> None:
    """A request that the ingress answered."""
    attributes = {
        names.HTTP_REQUEST_METHOD: "POST",
        names.HTTP_ROUTE: "/api/events",
        names.HTTP_RESPONSE_STATUS_CODE: status,
        **({names.ERROR_CODE: code} if code else {}),
    }
    _span("POST /api/events", trace.SpanKind.SERVER, minutes_ago, attributes, failed=status >= 500)


def moved(begun: int, **over: int) -> None:
    """Have events begin, and some of them end, by state."""
    ends = [(CHAT, "accepted", state) for state, number in over.items() for _ in range(number)]
    Moves().count([*[(CHAT, NEW, "accepted")] * begun, *ends])


def worked(
    event: str, *, attempt: int = 1, code: str = "", minutes_ago: float = 0, type: str = CHAT, **more: object
) -> None:
    """A message that a worker worked on, well or not."""
    attributes = {
        names.AZ_NAMESPACE: names.AZ_NAMESPACE_SERVICE_BUS,
        names.QUEUE: "lightning",
        names.ACTOR: "chat",
        names.EVENT: event,
        names.TYPE: type,
        names.ATTEMPT: attempt,
        **({names.ERROR_CODE: code} if code else {}),
        **more,
    }
    _span("process lightning", trace.SpanKind.CONSUMER, minutes_ago, attributes, failed=bool(code))


def _span(name: str, kind: trace.SpanKind, minutes_ago: float, attributes: dict, *, failed: bool) -> None:
    at = time.time_ns() - int(minutes_ago * MINUTE * 1e9)
    span = trace.get_tracer("scenes").start_span(name, kind=kind, attributes=attributes, start_time=at)
    if failed:
        span.set_status(trace.StatusCode.ERROR, "it failed")
    span.end(at + 1_000_000)


def ran(agent: str, **numbers: int) -> None:
    """Runs of an agent, so many of each status."""
    for status, number in numbers.items():
        for place in range(number):
            task = {"id": f"task-{status}-{place}", "userID": "user"}
            result = TaskResultMetadata(
                taskID=task["id"], runID=f"run-{status}-{place}", status=status, message="",
                waitedSeconds=1.0, ranSeconds=1.0,
            )  # fmt: skip
            tell_end(task, TaskMetadata(agent=agent), result)


def quiet_ingress() -> None:
    """What is accepted, what clients get wrong, and one mishap."""
    taken(202, minutes_ago=6)
    for _ in range(30):
        taken(422, code="invalid_event")
    taken(500)


def quiet_worker() -> None:
    """A little of everything that goes wrong where all is well."""
    log, steps = structlog.get_logger("scenes"), StepMetrics()
    for waited in (0.1, 0.2, 40.0):
        steps.claimed({"claims": 1, "type": CHAT}, time.time() - waited)
    worked("fine")
    worked("tick", **{names.SCHEDULE: "hourly", names.SCHEDULE_DRIFT: 1.0})
    # an error that is as frequent as ever, a few that are tried again, and endpoints that are away for hours
    for place in range(7 * 20 + 25):
        worked(f"usual-{place}", code="model_busy", minutes_ago=place % 119 if place >= 25 else 1)
    for place in range(9):
        worked(f"again-{place}", attempt=3, code="store_unavailable")
    for place in range(15):
        worked(f"hook-{place}", attempt=4, code="unexpected_status", type=DELIVERY)
    log.warning("event_dead", event_id="hook", user="user", type=DELIVERY, code="gone", message="it is gone")
    log.info("slots_left_out", schedule="of nobody", slots=3, why="disabled")
    ran("echo", succeeded=14, failed=5, timed_out=1)
    moved(1500, done=1400, cancelled=80)
    log.info("swept", events=3)
    depth = QueueDepth(Depths(), ["lightning"])
    count_tokens(Usage(9000, 1000, 10_000), {names.GEN_AI_REQUEST_MODEL: "gpt-4o"})
    log.warning("queue_unavailable", error="once")
    assert depth


def ill_worker() -> None:
    """All that a worker or a clock may have to complain of."""
    log = structlog.get_logger("scenes")
    StepMetrics().claimed({"claims": 1, "type": CHAT}, time.time() - 60)
    for place in range(25):
        worked(f"new-{place}", code="model_unavailable", minutes_ago=1)
    worked("usual", code="model_unavailable", minutes_ago=60)
    for place in range(10):
        worked(f"again-{place}", attempt=3, code="store_unavailable")
    log.warning("event_dead", event_id="chat", user="user", type=CHAT, code="model_refused", message="no")
    log.warning("slots_missed", schedule="hourly", slots=4)
    ran("echo", succeeded=2, failed=3, out_of_memory=2, timed_out=1)
    moved(3000, done=1400, dead=100)
    log.info("swept", events=60)
    depth = QueueDepth(Depths(), ["lightning"])
    count_tokens(Usage(5_900_000, 200_000, 6_100_000), {names.GEN_AI_REQUEST_MODEL: "gpt-4o"})
    for _ in range(3):
        log.warning("queue_unavailable", error="again")
    assert depth


def ill_ingress() -> None:
    """An ingress that is alone, and fails."""
    taken(202, minutes_ago=6)
    for _ in range(12):
        taken(503, code="store_unavailable")


SCENES: dict[str, Callable[[], None]] = {
    "quiet-web": quiet_ingress,
    "quiet-worker": quiet_worker,
    "ill-worker": ill_worker,
    "ill-web": ill_ingress,
}


def _tell(folder: Path, scene: str, connection: str) -> None:
    environment = {
        "LIGHTNING_DATA": str(folder),
        "APPLICATIONINSIGHTS_CONNECTION_STRING": connection,
        "LIGHTNING_SPANS": "0",
    }
    telemetry = configure_from(Settings.load(environment), f"lightning-{scene.partition('-')[2]}")
    SCENES[scene]()
    telemetry.shutdown()


def main() -> None:
    """Tell each scene in a copy of this process."""
    folder, *scenes = sys.argv[1:]
    copies = []
    for scene, connection in zip(scenes[::2], scenes[1::2], strict=True):
        copy = os.fork()
        if copy == 0:
            try:
                _tell(Path(folder), scene, connection)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        copies.append(copy)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) for copy in copies))


if __name__ == "__main__":
    main()
