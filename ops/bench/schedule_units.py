"""What a clock costs on Azure Cosmos DB while no schedule is due, counted where it is charged."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx2

from lightning.domain.handover import LONGEST_REST_SECONDS, Handover
from lightning.keys import with_keys
from lightning.settings import Settings
from ops.bench.plan import Result, summarise
from ops.bench.schedules import write_schedules
from ops.emulators.cosmos import CosmosEmulator
from worker.firing import Firing
from worker.fleet import Fleet, open_fleet

#: Schedules that are stored, and not due.
STORED: Final = 1000

LOOKS: Final = 20
_HOUR_SECONDS: Final = 3600.0


def schedule_units() -> dict[str, Result]:
    """Measure an hour in which no schedule is due, by some of its looks."""
    with tempfile.TemporaryDirectory() as folder, CosmosEmulator(ranges=3, control_port=0) as emulator:
        given = {
            "LIGHTNING_DATA": folder,
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": emulator.connection_string,
        }
        fleet = open_fleet(with_keys(Settings.load(given)), [], "clock")
        with asyncio.Runner() as runner:
            times, used = runner.run(_looks(fleet, f"{emulator.control_url}/usage"))
            runner.run(fleet.close())
        fleet.broker.close()
    an_hour = _HOUR_SECONDS / LONGEST_REST_SECONDS / LOOKS
    result = summarise(times, sum(times), {})
    result.figures["request units"] = used["charge"] * an_hour
    result.figures["query requests"] = used["count"] * an_hour
    result.figures["stored"] = STORED
    return {"RU, an hour of looks for schedules, none due": result}


async def _looks(fleet: Fleet, usage_url: str) -> tuple[list[float], dict[str, float]]:
    """Look so often; give how long each look took, and what all of them have used."""
    far = datetime.now(UTC) + timedelta(days=300)
    await write_schedules(fleet.storage, [far] * STORED)
    firing = Firing(fleet.schedules, Handover(fleet.dispatch), fleet.disabled)
    await firing.look()
    httpx2.delete(usage_url).raise_for_status()
    times: list[float] = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        await firing.look()
        times.append(time.perf_counter() - began)
    used: dict[str, dict[str, float]] = httpx2.get(usage_url).json()
    return times, used["query"]
