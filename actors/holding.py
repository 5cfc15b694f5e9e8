"""Holding a claim while a handler runs."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from lightning.errors import LightningError, PreconditionFailed
from lightning.log import Claimed, EventLog

T = TypeVar("T")

_log = structlog.get_logger(__name__)


#: A handler whose event was taken away (cancelled, interrupted) is stopped within this time.
LOOK_SECONDS = 1.0


class ClaimLost(LightningError):
    """Somebody else has changed the event: what was done for it does not count."""

    code = "claim_lost"


class Holding:
    """Renews a claim from a third of its length on, for as long as a handler runs.

    Parameters:
      log: The log that the event stands in.
      claim: The claim as it was made.
      owner: Its owner.
      seconds: Its length.
    """

    def __init__(self, log: EventLog, claim: Claimed, owner: str, seconds: float) -> None:
        self.claim = claim
        self._log = log
        self._owner = owner
        self._seconds = seconds
        self._writing = asyncio.Lock()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work`` with the claim held.

        Raises:
          ClaimLost: The event was taken away; ``work`` is cancelled.
        """
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClaimLost("the event was changed by somebody else while it was worked on")
            return working.result()
        finally:
            try:
                async with self._writing:  # a renewal under way changes the version that we hold
                    renewing.cancel()
            finally:  # whoever is interrupted meanwhile leaves nobody behind, who would renew it for ever
                renewing.cancel()
                working.cancel()
                await asyncio.wait({working, renewing})

    async def _renew(self) -> None:
        """Renew until told to stop; return when the claim is lost."""
        length = self._seconds / 3
        due = time.monotonic() + length
        while True:
            await asyncio.sleep(min(length, LOOK_SECONDS))
            async with self._writing:
                try:
                    if time.monotonic() >= due:
                        self.claim = await self._log.renew(self.claim, self._owner, self._seconds)
                        due = time.monotonic() + length
                    elif not await self._log.holds(self.claim):
                        return
                except PreconditionFailed:
                    return
                except LightningError as error:
                    _log.warning("renewal_failed", event_id=self.claim.event["id"], error=error.message)
