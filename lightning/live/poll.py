"""The slow poll behind the notifications: one may be lost, and its events arrive all the same."""

import asyncio
import random

import structlog

from lightning.errors import LightningError
from lightning.live.hub import Hub
from lightning.log import EventLog

_log = structlog.get_logger(__name__)


async def poll(hub: Hub, log: EventLog, within_seconds: float) -> None:
    """Look at the log of every user who has an open stream, again and again, until cancelled.

    The looks are spread evenly: one read a user, however many streams the user has.

    Parameters:
      hub: Who listens.
      log: Where to look.
      within_seconds: How long a lost notification may delay an event.
    """
    round_seconds = within_seconds / 2  # who comes during a round is looked at in the next one
    while True:
        users = hub.followed()
        if not users:
            await asyncio.sleep(min(round_seconds, 1.0))
        for user_id in users:
            pause = round_seconds / len(users)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- it only spreads the load
            try:
                head = await log.head(user_id)
            except LightningError as error:
                _log.warning("poll_failed", error=error.code)
                continue
            hub.reached(user_id, head["seq"])
