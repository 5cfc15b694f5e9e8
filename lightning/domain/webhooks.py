"""Webhooks: the endpoints to which a user has messages delivered.

All endpoints of a user stand in one document, since the messenger reads them
for every message: one point read, also for the many users who have none.
"""

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from lightning.domain import webhook_health
from lightning.domain.webhook import Webhook, from_document, to_document
from lightning.errors import Conflict, NotFound
from lightning.events import TYPES
from lightning.ids import new_id
from lightning.outbound import Guard, read_url
from lightning.storage import Create, Operation, Replace, Storage, Stored
from lightning.storage.shared_looks import SharedLooks

MAX_WEBHOOKS: Final = 20

#: After a rotation the secret before is still signed with for so long.
OVERLAP_SECONDS: Final = 24 * 3600.0

#: What can be delivered: all that is for people.
DELIVERABLE: Final = tuple(name for name, kind in TYPES.items() if kind.actor == "messenger")

CONTAINER: Final = "events"
_DOCUMENT_ID: Final = "webhooks"


class Webhooks:
    """The endpoints of all users.

    Parameters:
      storage: Where they stand.
      guard: Says where endpoints may be.
      clock: The present moment in seconds since 1970.
    """

    def __init__(self, storage: Storage, guard: Guard, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._looks = SharedLooks(self._stored)  # every message to a user asks, and many come at once

    async def of(self, user_id: str) -> list[Webhook]:
        """List a user's endpoints, in the order of their creation."""
        return _read(await self._looks.at(user_id))

    async def _stored(self, user_id: str) -> Stored | None:
        return await self._storage.get(CONTAINER, user_id, _DOCUMENT_ID)

    async def find(self, user_id: str, id: str) -> Webhook | None:
        """Find one endpoint of a user's."""
        return next((webhook for webhook in await self.of(user_id) if webhook.id == id), None)

    async def create(self, user_id: str, url: str, *, name: str | None, types: Sequence[str]) -> Webhook:
        """Make an endpoint.

        Raises:
          InvalidEvent: The URL is not one that we post to.
          Conflict: The user has as many as one may have (``too_many_webhooks``).
        """
        target = read_url(url, self._guard)
        made = Webhook(new_id(), url, name or target.host[:64], [*types], _new_secret())

        def add(webhooks: list[Webhook]) -> list[Webhook]:
            if len(webhooks) >= MAX_WEBHOOKS:
                raise Conflict(
                    f"you have {MAX_WEBHOOKS} webhooks; delete one first", code="too_many_webhooks"
                )
            return [*webhooks, made]

        await self._change(user_id, add)
        return made

    async def change(self, user_id: str, id: str, **changes: Any) -> Webhook:
        """Change an endpoint's ``url``, ``name``, ``types`` or ``disabled``.

        Whoever changes where it is, or enables it, wants it tried now: that it failed before is forgotten.

        Raises:
          NotFound: The user has no such endpoint.
          InvalidEvent: The URL is not one that we post to.
        """
        if "url" in changes:
            read_url(changes["url"], self._guard)
        if "disabled" in changes:
            changes["reason"] = None
        healed = [webhook_health.healthy(user_id, id)] if {"url", "disabled"} & set(changes) else []
        return await self._change_one(user_id, id, lambda webhook: replace(webhook, **changes), healed)

    async def rotate(self, user_id: str, id: str) -> Webhook:
        """Give an endpoint a new secret; the old one is signed with, too, for a day.

        Raises:
          NotFound: The user has no such endpoint.
        """
        until = self._clock() + OVERLAP_SECONDS
        secret = _new_secret()
        return await self._change_one(
            user_id, id, lambda webhook: replace(webhook, secret=secret, previous=(webhook.secret, until))
        )

    async def delete(self, user_id: str, id: str) -> None:
        """Remove an endpoint; what waits to be delivered to it is dropped when its turn comes.

        Raises:
          NotFound: The user has no such endpoint.
        """

        def remove(webhooks: list[Webhook]) -> list[Webhook]:
            left = [webhook for webhook in webhooks if webhook.id != id]
            if len(left) == len(webhooks):
                raise _not_found()
            return left

        await self._change(user_id, remove)

    async def disable(self, user_id: str, id: str, *, url: str, reason: str) -> None:
        """Disable an endpoint for what came back from ``url``, unless it has moved since."""

        def disabled(webhooks: list[Webhook]) -> list[Webhook]:
            return [
                replace(webhook, disabled=True, reason=reason)
                if (webhook.id, webhook.url) == (id, url)
                else webhook
                for webhook in webhooks
            ]

        await self._change(user_id, disabled)

    async def _change_one(
        self,
        user_id: str,
        id: str,
        change: Callable[[Webhook], Webhook],
        writes: Sequence[Operation] = (),
    ) -> Webhook:
        changed: list[Webhook] = []

        def apply(webhooks: list[Webhook]) -> list[Webhook]:
            changed[:] = [change(webhook) for webhook in webhooks if webhook.id == id]
            if not changed:
                raise _not_found()
            return [changed[0] if webhook.id == id else webhook for webhook in webhooks]

        await self._change(user_id, apply, writes)
        return changed[0]

    async def _change(
        self,
        user_id: str,
        change: Callable[[list[Webhook]], list[Webhook]],
        writes: Sequence[Operation] = (),
    ) -> None:
        def build(stored: Stored | None) -> list[Operation]:
            body = {
                "id": _DOCUMENT_ID,
                "userID": user_id,
                "kind": "webhooks",
                "webhooks": [to_document(webhook) for webhook in change(_read(stored))],
            }
            return [Create(body) if stored is None else Replace(body, stored.etag), *writes]

        await self._storage.batch_on(CONTAINER, user_id, _DOCUMENT_ID, build)


def _not_found() -> NotFound:
    return NotFound("there is no such webhook, or it is not yours")


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _read(stored: Stored | None) -> list[Webhook]:
    return [] if stored is None else [from_document(body) for body in stored.body["webhooks"]]
