"""The calls about schedules, which both clients have."""

from collections.abc import Mapping
from typing import Any

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import Event, FirePage, Schedule, SchedulePage


class ScheduleCalls(Caller):
    """What a client can do with schedules."""

    def create_schedule(self, event: Mapping[str, Any], *, key: str | None = None, **fields: Any) -> Schedule:
        """Have an event (``type``, ``metadata``) fire later: ``timestamp``, ``cron`` or ``every``."""
        return self._call(requests.create_schedule({"event": dict(event), **fields}, key))

    def schedules(self, **parameters: str | int) -> SchedulePage:
        """List schedules, a page at a time: ``limit``, ``page``."""
        return self._call(requests.schedules(parameters))

    def schedule(self, schedule_id: str) -> Schedule:
        """Read a schedule: when it fires next, and what it fired last."""
        return self._call(requests.schedule(schedule_id))

    def schedule_fires(self, schedule_id: str, **parameters: str | int) -> FirePage:
        """List what a schedule fired, newest first: ``before``, ``limit``."""
        return self._call(requests.schedule_fires(schedule_id, parameters))

    def change_schedule(self, schedule_id: str, **fields: Any) -> Schedule:
        """Change a schedule from now on."""
        return self._call(requests.change_schedule(schedule_id, fields))

    def pause_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule fire nothing until it is resumed."""
        return self._call(requests.steer_schedule(schedule_id, "pause"))

    def resume_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule fire again from now on."""
        return self._call(requests.steer_schedule(schedule_id, "resume"))

    def run_schedule(self, schedule_id: str, *, key: str | None = None) -> Event:
        """Have a schedule fire now, besides its slots."""
        return self._call(requests.fire_schedule(schedule_id, "run", None, key))

    def backfill_schedule(self, schedule_id: str, *, key: str | None = None, **fields: Any) -> Event:
        """Have slots of the past fire once more: ``startAt``, ``endAt``, ``overlap``."""
        return self._call(requests.fire_schedule(schedule_id, "backfill", fields, key))

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule; what it fired stays."""
        self._call(requests.delete_schedule(schedule_id))


class AsyncScheduleCalls(AsyncCaller):
    """What a client for asyncio can do with schedules; see `ScheduleCalls`."""

    async def create_schedule(
        self, event: Mapping[str, Any], *, key: str | None = None, **fields: Any
    ) -> Schedule:
        """Have an event (``type``, ``metadata``) fire later: ``timestamp``, ``cron`` or ``every``."""
        return await self.call(requests.create_schedule({"event": dict(event), **fields}, key))

    async def schedules(self, **parameters: str | int) -> SchedulePage:
        """List schedules, a page at a time: ``limit``, ``page``."""
        return await self.call(requests.schedules(parameters))

    async def schedule(self, schedule_id: str) -> Schedule:
        """Read a schedule: when it fires next, and what it fired last."""
        return await self.call(requests.schedule(schedule_id))

    async def schedule_fires(self, schedule_id: str, **parameters: str | int) -> FirePage:
        """List what a schedule fired, newest first: ``before``, ``limit``."""
        return await self.call(requests.schedule_fires(schedule_id, parameters))

    async def change_schedule(self, schedule_id: str, **fields: Any) -> Schedule:
        """Change a schedule from now on."""
        return await self.call(requests.change_schedule(schedule_id, fields))

    async def pause_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule fire nothing until it is resumed."""
        return await self.call(requests.steer_schedule(schedule_id, "pause"))

    async def resume_schedule(self, schedule_id: str) -> Schedule:
        """Let a schedule fire again from now on."""
        return await self.call(requests.steer_schedule(schedule_id, "resume"))

    async def run_schedule(self, schedule_id: str, *, key: str | None = None) -> Event:
        """Have a schedule fire now, besides its slots."""
        return await self.call(requests.fire_schedule(schedule_id, "run", None, key))

    async def backfill_schedule(self, schedule_id: str, *, key: str | None = None, **fields: Any) -> Event:
        """Have slots of the past fire once more: ``startAt``, ``endAt``, ``overlap``."""
        return await self.call(requests.fire_schedule(schedule_id, "backfill", fields, key))

    async def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule; what it fired stays."""
        await self.call(requests.delete_schedule(schedule_id))
