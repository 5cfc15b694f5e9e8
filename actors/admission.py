"""Admission to the step: who finds no place is put aside before anything is claimed."""

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import replace

import structlog

from actors.pace import Pace
from actors.places import CALL_SECONDS, Places
from actors.step import Step
from lightning.errors import LightningError
from lightning.log import Dispatch, EventLog, wakeup
from lightning.queue import Wakeup

_log = structlog.get_logger(__name__)


class Admission:
    """Keeps one user's work from holding every thread of a process, and bulk from being felt by others.

    An actor blocks its thread while it runs. One that may run long has a number of
    places, shared fairly among users. What finds none within a moment costs one write and
    one message, and no attempt; it is called as soon as there is a place, and looks again by itself,
    for the process may die, or another one have room. Belongs to one event loop.

    Parameters:
      step: What runs actors on events.
      log: The event log.
      dispatch: Sends the messages of what waits.
      places: By actor; those without any come in at once.
    """

    def __init__(self, step: Step, log: EventLog, dispatch: Dispatch, places: Mapping[str, Places]) -> None:
        self._step = step
        self._event_log = log
        self._dispatch = dispatch
        self._places = places
        self._pace = Pace()
        self._offering: dict[Places, asyncio.Task[None]] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Offer no place any more."""
        self._is_closed = True
        offering = list(self._offering.values())
        self._offering.clear()
        for task in offering:
            task.cancel()
        await asyncio.gather(*offering, return_exceptions=True)

    async def run(self, message: Wakeup) -> None:
        """Have the step look at the event of a message, now or later; returning acknowledges it."""
        if message.bulk:
            async with self._pace.begin(message.user_id):
                await self._admit(message)
        else:
            with self._pace.beside(message.user_id):
                await self._admit(message)

    async def _admit(self, message: Wakeup) -> None:
        places = self._places.get(message.actor)
        if places is None:
            await self._step.run(message)
        elif places.is_void(message):
            # it must not take the event off those that are called: the later message may be far away
            _log.debug("void_message", event_id=message.event_id)
        elif await places.enter(message):
            now = asyncio.get_running_loop().time  # what is waited for a place is counted by it too
            begun, worked = now(), False
            try:
                worked = await self._step.run(message)
            finally:
                places.leave(message.user_id, now() - begun if worked else None)
                await self._call(places)
        else:
            await self._put_aside(message, places)

    async def _put_aside(self, message: Wakeup, places: Places) -> None:
        wait_seconds = places.wait_seconds(message.user_id)
        try:
            self._event_log.resume(message.fresh_session(time.time()))
            event = await self._event_log.put_aside(
                message.user_id, message.event_id, message.wake, wait_seconds
            )
        except LightningError as error:
            _log.warning("not_put_aside", event_id=message.event_id, error=error.message)
            await self._dispatch.announce([replace(message, delay_seconds=wait_seconds)])
            return
        except Exception:  # noqa: BLE001 -- a fault of ours: the sweep sends it again, and no message is dead
            _log.exception("not_put_aside", event_id=message.event_id)
            return
        if event is None:
            await self._step.run(message)  # it is over, or another's: there is nothing that would take long
            return
        waiting = wakeup(event)
        await self._dispatch.announce([replace(waiting, delay_seconds=wait_seconds)])
        places.wait(waiting)
        await self._call(places)  # a place may have become free meanwhile

    async def _call(self, places: Places) -> None:
        await self._announce_called(places)
        if places.keeps_some() and places not in self._offering and not self._is_closed:
            # it belongs to no trace: whoever it calls next has one of their own
            self._offering[places] = asyncio.create_task(self._offer_on(places), context=Context())

    async def _offer_on(self, places: Places) -> None:
        """Call the next ones to places whose callers did not come, for as long as any is kept."""
        try:
            while places.keeps_some():
                await asyncio.sleep(CALL_SECONDS)
                await self._announce_called(places)
        except Exception:  # noqa: BLE001 -- a fault of ours: those who were called look again by themselves
            _log.exception("not_called")
        finally:
            self._offering.pop(places, None)

    async def _announce_called(self, places: Places) -> None:
        now = time.time()
        await self._dispatch.announce([replace(message, sent_at=now) for message in places.call()])
