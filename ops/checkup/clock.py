"""Whether this machine's clock agrees with that of Azure, which refuses what is signed at a wrong time."""

import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from lightning.keys import secret
from lightning.settings import Settings
from lightning.storage.cosmos_opening import read_connection
from lightning.tls import trusted
from ops.checkup.check import Check

#: Tokens are taken with a few minutes' grace, signed requests with 15; leases are judged by the clock, too.
MOST_SECONDS: Final = 60.0

ANSWER_SECONDS: Final = 10.0


async def look(settings: Settings, now: Callable[[], float] = time.time) -> AsyncIterator[Check]:
    """Compare the clock with the date of an answer of the store.

    Parameters:
      settings: They say where the store is.
      now: Gives the time of this machine, in seconds since 1970.
    """
    connection = secret(settings.cosmos_connection)
    address = settings.cosmos_endpoint if connection is None else read_connection(connection)[0]
    if settings.storage != "cosmos" or address is None:
        yield Check("clock", "skipped", "there is no store on Azure to ask for the time")
        return
    try:
        async with httpx2.AsyncClient(trust_env=False, verify=trusted(), timeout=ANSWER_SECONDS) as client:
            asked_at = now()
            date = (await client.get(address)).headers["date"]  # without a key it is refused, and dated
            off = (asked_at + now()) / 2 - parsedate_to_datetime(date).timestamp()
    except (httpx2.HTTPError, KeyError, ValueError) as error:
        yield Check("clock", "skipped", f"the store does not tell the time ({type(error).__name__})")
        return
    if abs(off) > MOST_SECONDS:
        direction = "fast" if off > 0 else "slow"
        remedy = "set it, and let it be kept: timedatectl set-ntp true"
        yield Check("clock", "failed", f"it is {abs(off):.0f} s {direction}", remedy)
        return
    yield Check("clock", "ok", f"within {MOST_SECONDS:g} s of the store's")
