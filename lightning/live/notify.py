"""Notifications between processes: signed webhooks that say whose log has grown.

They follow Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature),
so the receiver may be our own ``/notify`` or an operator's endpoint at ``NOTIFY_URL``.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import structlog
from standardwebhooks import Webhook, WebhookVerificationError

from lightning import strict_json
from lightning.errors import InvalidRequest, Unauthorized
from lightning.ids import new_id

_log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0

#: Posts keep this distance, so that a busy platform does not spend itself on them; the first goes at once.
SPACING_SECONDS = 0.01

#: Users named in one notification; the rest goes into the next.
MAX_USERS = 1000


class Notifier:
    """Posts notifications, everything that came up during one post in the next.

    Best effort: readers also look by themselves now and then.

    Parameters:
      url: Where to post; None tells nobody.
      secret: The Standard Webhooks secret that both sides know (``whsec_...``).
    """

    def __init__(self, url: str | None, secret: str) -> None:
        self._url = url
        self._webhook = Webhook(secret)
        self._pending: dict[str, int] = {}
        self._posting: asyncio.Task[None] | None = None
        # made here, since loading certificates takes a while; no redirects, and no proxy of the environment
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)

    def notify(self, user_id: str, seq: int) -> None:
        """Say that a user's log has grown up to ``seq``; returns at once."""
        if self._url is None:
            return
        self._pending[user_id] = max(seq, self._pending.get(user_id, 0))
        if self._posting is None:
            self._posting = asyncio.get_running_loop().create_task(self._post_all(self._url))

    async def _post_all(self, url: str) -> None:
        try:
            while self._pending:
                users = dict(list(self._pending.items())[:MAX_USERS])
                for user_id in users:
                    del self._pending[user_id]
                await self._post(url, users)
                await asyncio.sleep(SPACING_SECONDS)
        finally:
            self._posting = None

    async def _post(self, url: str, users: dict[str, int]) -> None:
        body = json.dumps({"type": "log.grown", "users": users})
        message_id, now = new_id(), datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        try:
            answer = await self._client.post(url, content=body, headers=headers)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            _log.debug("notification_failed", error=type(error).__name__)

    async def close(self) -> None:
        """Finish the notification under way and let go of the connection."""
        if self._posting is not None:
            await asyncio.wait({self._posting}, timeout=TIMEOUT_SECONDS)
        await self._client.aclose()


def read_notification(secret: str, headers: Mapping[str, str], body: bytes) -> list[str]:
    """Check a notification and give the users it names.

    Parameters:
      secret: The Standard Webhooks secret.
      headers: The request's headers.
      body: The request's body, as it came.

    Raises:
      Unauthorized: The signature is not ours, or older than five minutes.
      InvalidRequest: It is ours and still not a notification.
    """
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library lets some malformed headers through
        raise Unauthorized("the signature does not fit", code="signature_refused") from None
    try:
        raw: Any = strict_json.loads(body)
    except InvalidRequest:
        raw = None
    if not isinstance(raw, dict) or not isinstance(raw.get("users"), dict):  # pyright: ignore[reportUnknownMemberType]
        raise InvalidRequest("the body is not a notification with users", code="not_a_notification")
    return [str(user) for user in cast("dict[str, Any]", raw["users"])]
