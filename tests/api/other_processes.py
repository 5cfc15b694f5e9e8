"""What workers do, done by hand: no worker runs beside the ingress of these tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from lightning.events import Draft, State, now_text
from lightning.ids import derived_id, new_id
from lightning.log import Claimed, EventLog
from tests.api.conftest import Ingress
from tests.stores import storage_of


def tell(
    ingress: Ingress, *, users: dict[str, int] | None = None, deltas: object = None, **more: object
) -> None:
    """Post a signed notification."""
    body = json.dumps({"type": "frames", "users": users or {}, "deltas": deltas or {}, **more})
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
    asyncio.run(_end(ingress, event, "response", "done", content=content))


def fail(ingress: Ingress, event: dict[str, Any]) -> None:
    """Give a chat up, with a response that says so, and tell nobody."""
    asyncio.run(_end(ingress, event, "failure", "dead", error={"code": "no_answer", "message": "no luck"}))


async def _end(ingress: Ingress, event: dict[str, Any], output: str, state: State, **said: Any) -> None:
    async with _claimed(ingress, event, wake=0) as (log, claim):
        metadata = {
            "content": "",
            "conversationID": event["metadata"]["conversationID"],
            "model": "tests",
            "finishReason": "stop",
            "attempt": claim.event["claims"],
            **said,
        }
        response_id = derived_id(event["id"], output)
        response = Draft(response_id, "llm.chat.response", "tests", metadata, now_text(), {})
        await log.end(claim, state, outputs=[response])


def take_up_again(ingress: Ingress, event: dict[str, Any]) -> int:
    """Claim a chat that was replayed, and give the number of the attempt."""
    return asyncio.run(_take_up_again(ingress, event))


async def _take_up_again(ingress: Ingress, event: dict[str, Any]) -> int:
    async with _claimed(ingress, event, wake=1) as (_, claim):
        return claim.event["claims"]


@asynccontextmanager
async def _claimed(
    ingress: Ingress, event: dict[str, Any], *, wake: int
) -> AsyncIterator[tuple[EventLog, Claimed]]:
    storage = storage_of(ingress.data)
    try:
        log = EventLog(storage)
        claim = await log.claim(event["userID"], event["id"], wake, "tests", 30)
        assert isinstance(claim, Claimed)
        yield log, claim
    finally:
        await storage.close()


def record(ingress: Ingress, user_id: str, content: str) -> None:
    """Record a message for a user, and tell nobody."""
    asyncio.run(_record(ingress, user_id, content))


async def _record(ingress: Ingress, user_id: str, content: str) -> None:
    storage = storage_of(ingress.data)
    try:
        draft = Draft(new_id(), "user.message", "tests", {"content": content}, now_text(), {})
        await EventLog(storage).append(user_id, [draft])
    finally:
        await storage.close()
