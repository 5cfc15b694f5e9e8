"""The worker process: the loop that its actors run on."""

import asyncio

import dramatiq
import uvloop
from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from worker.main import EventLoop


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
