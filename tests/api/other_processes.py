"""What workers do, done by hand: no worker runs beside the ingress of these tests."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from lightning.events import Draft, now_text
from lightning.ids import derived_id, new_id
from lightning.log import Claimed, EventLog
from lightning.storage import SqliteStorage
from tests.api.conftest import Ingress


def tell(ingress: Ingress, *, users: dict[str, int] | None = None, deltas: object = None) -> None:
    """Post a signed notification."""
    body = json.dumps({"type": "frames", "users": users or {}, "deltas": deltas or {}})
    secret = ingress.settings.notify_secret
    assert secret is not None
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret.get_secret_value()).sign("m", now, body),
    }
    answer = ingress.http.post("/notify", content=body, headers=headers)
    assert answer.status_code == 204, answer.text


def piece(event: dict[str, Any], offset: int, text: str, *, attempt: int = 1) -> dict[str, Any]:
    """Make a delta of the answer to an event."""
    return {
        "event": event["id"],
        "conversationID": event["metadata"]["conversationID"],
        "attempt": attempt,
        "offset": offset,
        "text": text,
    }


def answer(ingress: Ingress, event: dict[str, Any], content: str) -> None:
    """Record the response to a chat, and tell nobody."""
    asyncio.run(_answer(ingress, event, content))


async def _answer(ingress: Ingress, event: dict[str, Any], content: str) -> None:
    storage = SqliteStorage(ingress.data / "log.db")
    try:
        log = EventLog(storage)
        claim = await log.claim(event["userID"], event["id"], 0, "tests", 30)
        assert isinstance(claim, Claimed)
        metadata = {
            "content": content,
            "conversationID": event["metadata"]["conversationID"],
            "model": "tests",
            "finishReason": "stop",
        }
        response = Draft(
            derived_id(event["id"], "response"), "llm.chat.response", "tests", metadata, now_text(), {}
        )
        await log.end(claim, "done", outputs=[response])
    finally:
        await storage.close()


def record(ingress: Ingress, user_id: str, content: str) -> None:
    """Record a message for a user, and tell nobody."""
    asyncio.run(_record(ingress, user_id, content))


async def _record(ingress: Ingress, user_id: str, content: str) -> None:
    storage = SqliteStorage(ingress.data / "log.db")
    try:
        draft = Draft(new_id(), "user.message", "tests", {"content": content}, now_text(), {})
        await EventLog(storage).append(user_id, [draft])
    finally:
        await storage.close()
