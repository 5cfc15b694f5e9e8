"""Approvals: a person decides on one exact action of a model's.

An approval is one document in its user's partition, bound to the SHA-256 of what would be done. It is decided
once; the decision and the event that carries it are one batch. Nothing is held while nobody has decided: what
acts is woken by the decision, or by the end of the time for it.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypedDict, cast

import orjson

from lightning.errors import Conflict, NotFound, PreconditionFailed
from lightning.events import Draft, EventDocument, now_text
from lightning.ids import approval_id, conversation_document_id, derived_id
from lightning.log import EventLog
from lightning.log.turns import as_conversation
from lightning.storage import Create, Operation, Replace, Storage, Stored, Where
from lightning.telemetry import carrier

CONTAINER: Final = "events"
KIND: Final = "approval"
SOURCE: Final = "lightning.approvals"

Decision = Literal["approved", "refused", "expired"]

#: How an approval stands, as people see it.
Standing = Literal["pending", "approved", "refused", "expired", "cancelled"]


class ApprovalDocument(TypedDict):
    """An approval as it stands in the store.

    ``turn`` and ``place`` say which call it is about, ``eventID`` which event asked for it, ``expiryID``
    which one ends the time for it. ``state`` is that of events (a store lets documents expire by it).
    """

    id: str
    userID: str
    kind: Literal["approval"]
    state: Literal["accepted", "done"]
    seq: int
    conversationID: str
    eventID: str
    expiryID: str
    turn: str
    place: int
    tool: str
    arguments: dict[str, Any]
    scope: dict[str, Any]
    hash: str
    decision: Decision | None
    decidedAt: str | None
    expiresAt: float
    createdAt: str


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval in one version of its document."""

    document: ApprovalDocument
    etag: str

    def decided(self, decision: Decision) -> Replace:
        """Write a decision down, unless somebody else has changed it meanwhile."""
        changed: ApprovalDocument = {
            **self.document,
            "decision": decision,
            "decidedAt": now_text(),
            "state": "done",
        }
        return Replace(cast("dict[str, Any]", changed), self.etag)


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """A page of approvals, and the token that asks for the next one."""

    approvals: list[ApprovalDocument]
    next: str | None


def hash_of(tool: str, arguments: Mapping[str, Any], scope: Mapping[str, Any]) -> str:
    """Give the SHA-256 of an action, in hexadecimal digits.

    Parameters:
      tool: What is called.
      arguments: With what.
      scope: What it touches, as the conversation says.
    """
    action = {"tool": tool, "arguments": arguments, "scope": scope}
    return hashlib.sha256(orjson.dumps(action, option=orjson.OPT_SORT_KEYS)).hexdigest()


def new_approval(
    event: EventDocument,
    requested: str,
    expiry: str,
    *,
    conversation: str,
    turn: str,
    place: int,
    tool: str,
    arguments: dict[str, Any],
    scope: dict[str, Any],
    expires_at: float,
) -> ApprovalDocument:
    """Make an approval that nobody has decided.

    Parameters:
      event: The event that was worked on when it was needed.
      requested: Id of the `approval.requested` that asks for it.
      expiry: Id of the `approval.expiry` that ends the time for it.
      conversation: Whose model wants to act.
      turn: Id of the reply that holds the call.
      place: The place of the call in it.
      tool: What is to be called.
      arguments: With what.
      scope: What it would touch.
      expires_at: When it is refused, in Unix seconds.
    """
    return {
        "id": approval_id(requested),
        "userID": event["userID"],
        "kind": KIND,
        "state": "accepted",
        "seq": event["seq"],
        "conversationID": conversation,
        "eventID": requested,
        "expiryID": expiry,
        "turn": turn,
        "place": place,
        "tool": tool,
        "arguments": arguments,
        "scope": scope,
        "hash": hash_of(tool, arguments, scope),
        "decision": None,
        "decidedAt": None,
        "expiresAt": expires_at,
        "createdAt": now_text(),
    }


def creation(document: ApprovalDocument) -> Operation:
    """Write a new approval down."""
    return Create(cast("dict[str, Any]", document))


def expiry_text(document: ApprovalDocument) -> str:
    """Give the moment at which it is refused, as RFC 3339 text."""
    moment = datetime.fromtimestamp(document["expiresAt"], UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class Approvals:
    """Every user's approvals.

    Parameters:
      storage: Where they stand, beside the events.
      log: Where decisions are recorded.
      clock: The present moment in seconds since 1970.
    """

    def __init__(self, storage: Storage, log: EventLog, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._log = log
        self._clock = clock

    async def standing(self, document: ApprovalDocument) -> Standing:
        """Tell how an approval stands now.

        One that belongs to what was cancelled is not decided any more, and nothing follows from it.
        """
        if document["decision"] is not None:
            return document["decision"]
        requested = await self._log.get(document["userID"], document["eventID"])
        if requested is None or await self._log.is_cancelled(requested):
            return "cancelled"
        return "expired" if document["expiresAt"] <= self._clock() else "pending"

    async def find(self, user_id: str, id: str) -> Approval | None:
        """Read an approval."""
        stored = await self._storage.get(CONTAINER, user_id, id)
        if stored is None or stored.body["kind"] != KIND:
            return None
        return Approval(_as_approval(stored), stored.etag)

    async def newest(
        self, user_id: str | None, *, pending: bool = False, limit: int, page: str | None = None
    ) -> ApprovalPage:
        """List a user's approvals, those of the latest turn first.

        Parameters:
          user_id: Whose; None is everybody's, those first that were asked for last.
          pending: Only those that nobody has decided.
          limit: At most so many.
          page: Where the page before ended.

        Raises:
          ValueError: The page token is not one of ours.
        """
        where = [Where("kind", "=", KIND)]
        if pending:
            where.append(Where("state", "=", "accepted"))
        order = "createdAt" if user_id is None else "seq"
        found = await self._storage.query(
            CONTAINER, user_id, where, order_by=order, descending=True, limit=limit, page=page
        )
        return ApprovalPage([_as_approval(stored) for stored in found.items], found.next)

    async def decide(
        self, user_id: str, id: str, decision: Literal["approved", "refused"], hash: str
    ) -> tuple[ApprovalDocument, Sequence[EventDocument]]:
        """Decide, once; the same decision again is the same answer.

        An approval also notes in the conversation that the user has agreed to the tool, for its policy
        ``first``.

        Parameters:
          user_id: Whose approval; only they decide.
          id: Which.
          decision: What they say.
          hash: What they say it to.

        Returns:
          The approval as decided, and what workers must hear of.

        Raises:
          NotFound: The user has no such approval.
          Conflict: It is about something else (``approval_hash``), was decided otherwise
            (``approval_decided``), nobody decided it in time (``approval_expired``), or what it belongs to
            was cancelled (``approval_cancelled``).
        """
        while True:
            approval = await self.find(user_id, id)
            if approval is None:
                raise NotFound("there is no such approval, or it is not yours")
            known = approval.document
            if not hmac.compare_digest(known["hash"].encode(), hash.encode()):
                raise Conflict(
                    "the hash is that of another action; read the approval anew",
                    code="approval_hash",
                    pointer="/hash",
                )
            draft, standing = _draft(known, decision), await self.standing(known)
            if standing == decision:
                return known, await self._recorded(user_id, draft.id)
            _check_open(standing)
            requested = await self._log.get(user_id, known["eventID"])
            written = approval.decided(decision)
            writes = [written, *(await self._agreed(known) if decision == "approved" else [])]
            try:
                events = await self._log.append(user_id, [draft], writes=writes, cause=requested)
            except Conflict as taken:
                if isinstance(taken, PreconditionFailed) or taken.pointer == draft.id:
                    continue  # somebody was faster; what they decided holds
                raise
            # what was to end the time for it is over, too; if we die here, it is at that time
            expiry = await self._log.hasten(user_id, known["expiryID"])
            return cast("ApprovalDocument", written.body), [*events, *([expiry] if expiry else [])]

    async def _agreed(self, approval: ApprovalDocument) -> list[Operation]:
        """Note in the conversation that its user has agreed to a tool."""
        id_ = conversation_document_id(approval["conversationID"])
        stored = await self._storage.get(CONTAINER, approval["userID"], id_)
        if stored is None or stored.body.get("deleted"):
            return []
        agreed = as_conversation(stored).get("approvedTools", [])
        if approval["tool"] in agreed:
            return []
        return [Replace({**stored.body, "approvedTools": [*agreed, approval["tool"]]}, stored.etag)]

    async def _recorded(self, user_id: str, id: str) -> list[EventDocument]:
        event = await self._log.get(user_id, id)
        return [] if event is None else [event]


def _check_open(standing: Standing) -> None:
    if standing == "expired":
        raise Conflict("it was not decided in time, and is refused", code="approval_expired")
    if standing == "cancelled":
        message = "what it belongs to was cancelled; nothing follows from it any more"
        raise Conflict(message, code="approval_cancelled")
    if standing != "pending":
        raise Conflict(f"it is {standing} already", code="approval_decided")


def _draft(approval: ApprovalDocument, decision: str) -> Draft:
    return Draft(
        id=derived_id(approval["id"], "decided"),
        type="approval.decided",
        source=SOURCE,
        metadata={"approvalID": approval["id"], "decision": decision},
        timestamp=now_text(),
        trace=carrier.current(),
    )


def _as_approval(stored: Stored) -> ApprovalDocument:
    return cast("ApprovalDocument", stored.body)
