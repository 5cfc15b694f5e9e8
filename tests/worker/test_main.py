"""The worker process: the loop that its actors run on, and its end."""

import asyncio
import ctypes
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dramatiq
import httpx2
import pytest
import uvloop
from dramatiq import Worker
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import MiddlewareError

from brokers import SqliteBroker
from lightning.keys import with_keys
from lightning.settings import Settings, for_child
from ops.chaos.installation import until
from ops.ports import free_port
from worker.main import EventLoop

#: A worker whose closing never ends, and whose end may take a second.
HANGING = """
import threading
import worker.main

def never(*_):
    threading.Event().wait()

worker.main.CloseFleet.after_worker_shutdown = never
worker.main.CLOSING_SECONDS = 1.0
worker.main.main()
"""

#: A worker whose only actor works for a minute.
BUSY = """
import threading
from pathlib import Path
import dramatiq
import worker.main

def declare(broker, *_):
    @dramatiq.actor(broker=broker)
    def work(path):
        Path(path).touch()
        threading.Event().wait(60)

worker.main.declare_actors = declare
worker.main.main()
"""


def test_actors_run_on_a_loop_of_uvloop():
    # Given a worker with an asynchronous actor
    broker = StubBroker(middleware=[EventLoop()])
    loops = []

    async def look():
        loops.append(asyncio.get_running_loop())
        process = await asyncio.create_subprocess_exec("true")
        loops.append(await process.wait())

    actor = dramatiq.actor(broker=broker)(look)
    worker = Worker(broker, worker_threads=1)
    worker.start()

    # When it works
    try:
        actor.send()
        broker.join(actor.queue_name, timeout=10_000)
        worker.join()
    finally:
        worker.stop()

    # Then the actor has run on such a loop, where processes can be waited for, and the loop has ended
    assert isinstance(loops[0], uvloop.Loop)
    assert loops[1] == 0
    assert loops[0].is_closed()


def test_a_loop_that_starts_late_is_waited_for(monkeypatch):
    # Given a machine so busy that the thread of the loop runs only after a second
    run = EventLoopThread.run

    def run_late(thread):
        time.sleep(1.2)
        run(thread)

    monkeypatch.setattr(EventLoopThread, "run", run_late)
    broker = StubBroker(middleware=[EventLoop()])
    done = []

    async def look():
        done.append(True)

    actor = dramatiq.actor(broker=broker)(look)
    worker = Worker(broker, worker_threads=1)
    # When the worker starts, and has work
    worker.start()
    try:
        actor.send()
        broker.join(actor.queue_name, timeout=10_000, fail_fast=True)
        worker.join()
    finally:
        worker.stop()
    # Then it is done
    assert done == [True]


def test_a_worker_without_a_loop_does_not_start(monkeypatch):
    # Given a machine that has no thread for the loop
    def refuse(_thread, timeout=None):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(EventLoopThread, "start", refuse)
    worker = Worker(StubBroker(middleware=[EventLoop()]), worker_threads=1)
    # When the worker starts, then it fails instead of failing each message
    with pytest.raises(MiddlewareError, match="can't start new thread"):
        worker.start()
    assert worker.workers == []
    assert get_event_loop_thread() is None


@contextmanager
def working(data, *program, **environment):
    """Run a worker process, and give it once it works."""
    port = free_port()
    settings = with_keys(Settings.load({"LIGHTNING_DATA": str(data), "PORT": str(port), **environment}))
    with subprocess.Popen(
        [sys.executable, *program], env=for_child(settings), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until(lambda: _answers(port), "the worker works")
            yield process
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.mark.timeout(60)
def test_a_worker_stops_whichever_thread_is_told(tmp_path):
    with working(tmp_path, "-m", "worker.main") as process:
        # When the system delivers the signal on another thread than the main one
        threads = [int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir()]
        other = max(thread for thread in threads if thread != process.pid)  # ids begin anew at some point
        assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGTERM) == 0
        # Then the worker drains and ends
        assert process.wait(30) == 0


@pytest.mark.timeout(60)
def test_a_worker_ends_in_time_though_its_closing_hangs(tmp_path):
    with working(tmp_path, "-c", HANGING, LIGHTNING_DRAIN_SECONDS="0.5") as process:
        process.send_signal(signal.SIGTERM)
        # Then it ends with a failure, and shows what it was about
        _, shown = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Timeout (" in shown
        assert '/worker/main.py", line' in shown


@pytest.mark.timeout(60)
def test_a_worker_gives_up_what_takes_longer_than_its_drain(tmp_path):
    # Given a worker that works on something long
    begun = tmp_path / "begun"
    with working(tmp_path, "-c", BUSY, LIGHTNING_DRAIN_SECONDS="0.5") as process:
        broker = SqliteBroker(tmp_path / "queue.db")
        broker.declare_queue("default")
        broker.enqueue(dramatiq.Message("default", "work", (str(begun),), {}, {}))
        until(begun.exists, "it works")
        # When it is told to stop, then it ends long before the default drain would be over
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        # And what it did not finish is still there
        assert broker.qsize("default") == 1
        broker.close()
