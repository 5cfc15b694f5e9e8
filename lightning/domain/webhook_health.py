"""The health of an endpoint: while it fails, one request at a time finds out whether it is back.

All workers share it through the store. Deliveries that wait meanwhile are not
attempts; so a receiver that was down for an hour has lost no message, and one
that hangs holds one place of the fleet and no more. They look again one behind
the other, so that however many wait, an endpoint that fails costs few looks, and
one that is back is not overrun.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lightning.pacing import Lines
from lightning.storage import Create, Operation, Replace, Storage, Stored, Upsert

#: The wait between two trials doubles up to this.
MAX_PAUSE_SECONDS: Final = 300.0

#: Those who wait for somebody else's trial look again after so long, if it may take longer.
TRIAL_LOOK_SECONDS: Final = 5.0

#: Deliveries that wait for one endpoint look again so far apart, in each process,
LOOK_APART_SECONDS: Final = 0.1

#: and none is put off longer, however many wait: what is given up after a day has looked often by then.
MAX_LOOK_SECONDS: Final = 3 * 3600.0

#: Endpoints whose waiting deliveries are kept apart; beyond, those that wait shortest are forgotten.
MAX_LINES: Final = 1000

CONTAINER: Final = "events"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known about an endpoint.

    Parameters:
      failures: Trials that failed since it last worked.
      not_before: No trial before this moment (seconds since 1970).
      since: Since when it fails.
      trial: Which delivery tries it, and until when nobody else does.
    """

    failures: int = 0
    not_before: float = 0.0
    since: float = 0.0
    trial: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an endpoint may be tried.

    Parameters:
      wait_seconds: 0 when it may.
      is_trial: It fails; others wait for what comes of this.
    """

    wait_seconds: float = 0.0
    is_trial: bool = False


class WebhookHealth:
    """The health of all endpoints.

    Parameters:
      storage: Where it stands.
      first_pause_seconds: The wait after the first failure; it doubles.
      clock: The present moment in seconds since 1970.
      randomness: Gives numbers from 0 to 1, which spread the looks of those who wait.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        first_pause_seconds: float = 5.0,
        clock: Callable[[], float] = time.time,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._storage = storage
        self._first_pause_seconds = first_pause_seconds
        self._clock = clock
        self._lines = Lines(LOOK_APART_SECONDS, MAX_LOOK_SECONDS, most_lines=MAX_LINES, randomness=randomness)

    async def get(self, user_id: str, webhook_id: str) -> Health:
        """Read the health of an endpoint."""
        return _read(await self._storage.get(CONTAINER, user_id, _document_id(webhook_id)))

    async def admit(
        self, user_id: str, webhook_id: str, delivery_id: str, seconds: float, *, at_once: bool = False
    ) -> Admission:
        """Ask whether a delivery may try an endpoint now.

        Parameters:
          user_id: The partition.
          webhook_id: The endpoint.
          delivery_id: Who asks; a repetition after a crash is let through.
          seconds: How long the try may take.
          at_once: A person waits for it: only a trial under way is waited for, no pause.
        """
        if (await self.get(user_id, webhook_id)).failures == 0:
            return Admission()
        answers: list[Admission] = []

        def build(stored: Stored | None) -> list[Operation]:
            health, now = _read(stored), self._clock()
            wait = _wait(health, delivery_id, now, at_once=at_once)
            answers.append(Admission(wait, is_trial=wait == 0.0 and health.failures > 0))
            if stored is None or not answers[-1].is_trial:
                return []
            return [Replace(_write(user_id, webhook_id, health, (delivery_id, now + seconds)), stored.etag)]

        await self._storage.batch_on(CONTAINER, user_id, _document_id(webhook_id), build)
        admission = answers[-1]
        if not admission.wait_seconds or at_once:
            return admission
        return Admission(self._lines.wait(webhook_id, self._clock(), admission.wait_seconds))

    async def failed(self, user_id: str, webhook_id: str, pause_seconds: float = 0.0) -> None:
        """Note that an endpoint does not work.

        Parameters:
          user_id: The partition.
          webhook_id: The endpoint.
          pause_seconds: What the endpoint asked for; longer than ours, it holds.
        """

        def build(stored: Stored | None) -> list[Operation]:
            health, now = _read(stored), self._clock()
            if health.failures and health.trial is None and health.not_before > now:
                return []  # those who were under way when the first one failed say nothing new
            doubled = self._first_pause_seconds * 2 ** min(health.failures, 16)
            pause = max(min(doubled, MAX_PAUSE_SECONDS), pause_seconds)
            body = _write(
                user_id,
                webhook_id,
                Health(health.failures + 1, now + pause, health.since if health.failures else now),
                None,
            )
            return [Create(body) if stored is None else Replace(body, stored.etag)]

        await self._storage.batch_on(CONTAINER, user_id, _document_id(webhook_id), build)

    async def worked(self, user_id: str, webhook_id: str) -> None:
        """Note that a trial went well."""
        await self._storage.batch(CONTAINER, user_id, [healthy(user_id, webhook_id)])


def healthy(user_id: str, webhook_id: str) -> Operation:
    """Make the write that forgets all failures of an endpoint."""
    return Upsert(_write(user_id, webhook_id, Health(), None))


def _wait(health: Health, delivery_id: str, now: float, *, at_once: bool) -> float:
    if health.failures == 0:
        return 0.0
    if health.trial is not None and health.trial[1] > now:
        return 0.0 if health.trial[0] == delivery_id else min(health.trial[1] - now, TRIAL_LOOK_SECONDS)
    return 0.0 if at_once else max(0.0, health.not_before - now)


def _document_id(webhook_id: str) -> str:
    return f"webhook-health-{webhook_id}"


def _write(user_id: str, webhook_id: str, health: Health, trial: tuple[str, float] | None) -> dict[str, Any]:
    return {
        "id": _document_id(webhook_id),
        "userID": user_id,
        "kind": "webhook.health",
        "failures": health.failures,
        "notBefore": health.not_before,
        "since": health.since,
        "trial": trial and [*trial],
    }


def _read(stored: Stored | None) -> Health:
    if stored is None:
        return Health()
    body = stored.body
    trial = body["trial"] and (body["trial"][0], body["trial"][1])
    return Health(body["failures"], body["notBefore"], body["since"], trial)
