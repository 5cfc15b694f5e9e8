"""What stands in a user's partition beside a page of events, read together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from lightning.domain.approvals import ApprovalDocument, Standing
from lightning.domain.deliveries import attempts_id
from lightning.domain.ledger import Asked
from lightning.domain.ledger_document import read as read_ledger
from lightning.domain.runs import RunDocument
from lightning.domain.turns import KIND as TURN
from lightning.domain.turns import TurnDocument
from lightning.events import EventDocument
from lightning.ids import approval_id, budget_id, run_id
from lightning.storage import Storage, Where

CONTAINER: Final = "events"

#: Values of one condition.
_TOGETHER: Final = 100

_ANSWER: Final = "llm.chat.response"


@dataclass(slots=True)
class Found:
    """Documents of one user, by what they belong to, and how the approvals among them stand."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    replies: dict[str, list[TurnDocument]] = field(default_factory=dict[str, list[TurnDocument]])
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])

    def run(self, event: EventDocument) -> RunDocument | None:
        """Give the run of a task."""
        return cast("RunDocument | None", self.documents.get(run_id(event["id"])))

    def asked(self, event: EventDocument) -> dict[str, Asked]:
        """Give what the container of a task has asked of each model."""
        body = self.documents.get(budget_id(event["root"]))
        return {} if body is None else read_ledger(body).models.get(event["id"], {})

    def approval(self, event: EventDocument) -> ApprovalDocument | None:
        """Give the approval that an event asks for."""
        return cast("ApprovalDocument | None", self.documents.get(approval_id(event["id"])))

    def attempts(self, event: EventDocument) -> list[dict[str, Any]]:
        """Give the attempts at a delivery."""
        return self.documents.get(attempts_id(event["id"]), {}).get("attempts", [])


async def find(storage: Storage, user_id: str, events: Sequence[EventDocument]) -> Found:
    """Read what belongs to some events of a user.

    Raises:
      Transient: The store does not answer.
    """
    found = Found()
    for stored in await _all(storage, user_id, "id", {name for each in events for name in _beside(each)}):
        found.documents[stored["id"]] = stored
    known = {each["id"]: each["seq"] for each in events}
    causes = (found.documents.get(each["cause"] or "") for each in events if each["type"] == _ANSWER)
    places = set(known.values()) | {cause["seq"] for cause in causes if cause is not None}
    for stored in await _all(storage, user_id, "seq", places, kind=TURN):
        reply = cast("TurnDocument", stored)
        found.replies.setdefault(reply["eventID"], []).append(reply)
    return found


def _beside(event: EventDocument) -> list[str]:
    """Name the documents that belong to an event."""
    match event["type"]:
        case "worker.task":
            return [run_id(event["id"]), budget_id(event["root"])]
        case "webhook.delivery":
            return [attempts_id(event["id"])]
        case "approval.requested":
            return [approval_id(event["id"])]
        case "llm.chat.response" if event["cause"] is not None:
            return [event["cause"]]
        case _:
            return []


async def _all(
    storage: Storage,
    user_id: str,
    name: str,
    values: Collection[str] | Collection[int],
    kind: str | None = None,
) -> list[dict[str, Any]]:
    """Read all documents of a user's where a field has one of some values."""
    found: list[dict[str, Any]] = []
    listed = sorted(values)
    for start in range(0, len(listed), _TOGETHER):
        where = [Where(name, "in", tuple(listed[start : start + _TOGETHER]))]
        if kind is not None:
            where.append(Where("kind", "=", kind))
        page: str | None = None
        while True:
            answer = await storage.query(CONTAINER, user_id, where, order_by=name, page=page)
            found += [stored.body for stored in answer.items]
            page = answer.next
            if page is None:
                break
    return found
