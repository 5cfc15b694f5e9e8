"""Celery: its own worker with a pool of threads. It acknowledges after the task, as the others do."""

import threading
from importlib import import_module
from typing import Any

from ops.bench.brokers.job import Job
from ops.bench.brokers.plan import Plan, Quota
from ops.bench.brokers.sending import Failed, flood_by_threads

_STOP_SECONDS = 5.0


def open_driver(variant: str, plan: Plan, queue: str, job: Job) -> "CeleryDriver":
    """Open Celery on the address of the plan; there is no variant."""
    del variant
    return CeleryDriver(plan.url, queue, job)


class CeleryDriver:
    """Celery with one task."""

    def __init__(self, url: str, queue: str, job: Job) -> None:
        celery: Any = import_module("celery")
        self._app: Any = celery.Celery("bench", broker=url, set_as_current=False)
        self._app.conf.update(
            task_default_queue=queue,
            task_ignore_result=True,
            task_acks_late=True,  # by default a task is lost with its worker
            worker_hijack_root_logger=False,
        )

        def bench(number: int) -> None:
            job.run(number)

        self._task: Any = self._app.task(bench, name="bench")
        self._worker: Any = None
        self._thread: threading.Thread | None = None

    def flood(self, quota: Quota, at_a_time: int) -> Failed:
        """Send from threads."""
        return flood_by_threads(self.send, quota, at_a_time)

    def send(self, number: int) -> None:
        """Send one message."""
        self._task.delay(number)

    def work(self, threads: int) -> None:
        """Start a worker with so many threads."""
        self._worker = self._app.WorkController(concurrency=threads, pool="threads")
        self._thread = threading.Thread(target=self._worker.start)
        self._thread.start()

    def close(self) -> None:
        """Stop the worker and close the connections."""
        if self._thread is not None:
            state: Any = import_module("celery.worker.state")
            state.should_stop = 0  # what its own signal handler sets
            self._thread.join(_STOP_SECONDS)
        self._app.close()
