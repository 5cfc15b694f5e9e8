"""Does what a person has approved, and tells the model of what they have refused or let pass."""

from dataclasses import dataclass
from typing import Final

from actors.chat_answers import resumption
from actors.chat_calls import ChatCalls, following_of, read_call, scope_of, wait
from actors.outcome import Done
from lightning.domain.approvals import Approval, Approvals, hash_of
from lightning.domain.conversations import Conversations
from lightning.domain.turn_messages import NOT_DECIDED
from lightning.domain.turns import Turn, Turns
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.tools import InvalidCall, Toolset

#: A server that did not answer may have done it all the same, and so may a worker that died.
GIVEN_UP: Final = "Error: {}. It was given up; see whether it was done before you call it again."
REFUSED: Final = "Refused: the user does not want it. It was not done."
CHANGED: Final = "Refused: it is not what the user approved any more. It was not done; call it again to ask."


@dataclass(frozen=True, slots=True)
class _Open:
    """An approval, and the call that waits for it."""

    approval: Approval
    turn: Turn
    place: int


class ChatApprovals:
    """Acts on decisions.

    Parameters:
      approvals: What was decided.
      turns: Where replies stand.
      conversations: What they allow now.
      calls: Makes the calls.
    """

    def __init__(
        self, approvals: Approvals, turns: Turns, conversations: Conversations, calls: ChatCalls
    ) -> None:
        self._approvals = approvals
        self._turns = turns
        self._conversations = conversations
        self._calls = calls

    async def decided(self, event: EventDocument, approval_id: str) -> Done:
        """Do what was approved, exactly that and once; or tell the model that it was refused."""
        found = await self._open(event["userID"], approval_id)
        if found is None:
            return Done()  # its conversation was deleted, or this was done before
        if found.approval.document["decision"] != "approved":
            return _answered(event, found.turn.answered(found.place, REFUSED))
        conversation = found.turn.document["conversationID"]
        known = await self._conversations.find(event["userID"], conversation)
        toolset = Toolset.of(event["userID"], conversation, known)
        if not self._holds(found, toolset):
            return _answered(event, found.turn.answered(found.place, CHANGED))
        call = await self._calls.act(event, found.turn, found.place, toolset)
        turn = found.turn.with_call(found.place, call)
        if call["result"] is not None:
            return _answered(event, turn, found.place)
        outputs, writes, _ = wait(event, turn, found.place)
        return Done(outputs, [turn.operation(), *writes])

    async def expired(self, event: EventDocument, approval_id: str) -> Done:
        """Refuse what nobody has decided in time."""
        approval = await self._approvals.find(event["userID"], approval_id)
        if approval is None or approval.document["decision"] is not None:
            return Done()
        refusal = approval.decided("expired")
        found = await self._open(event["userID"], approval_id)
        if found is None:
            return Done(writes=[refusal])
        turn = found.turn.answered(found.place, NOT_DECIDED)
        return Done(resumption(event, turn), [turn.operation(), refusal])

    async def given_up(self, event: EventDocument, error: LightningError) -> Done:
        """Tell the model that nobody tries any more what was decided, or that the time for it is over."""
        approval_id = event["metadata"]["approvalID"]
        if event["type"] == "approval.expiry":
            return await self.expired(event, approval_id)  # it needs nothing but the store
        found = await self._open(event["userID"], approval_id)
        if found is None:
            return Done()
        approved = found.approval.document["decision"] == "approved"
        text = GIVEN_UP.format(error.message) if approved else REFUSED
        return _answered(event, found.turn.answered(found.place, text))

    async def _open(self, user_id: str, approval_id: str) -> _Open | None:
        approval = await self._approvals.find(user_id, approval_id)
        if approval is None:
            return None
        document = approval.document
        turn = await self._turns.find(user_id, document["turn"])
        place = document["place"]
        if turn is None or place not in turn.document["outstanding"]:
            return None
        asked = turn.document["calls"][place].get("awaits") == document["eventID"]
        return _Open(approval, turn, place) if asked else None

    def _holds(self, found: _Open, toolset: Toolset) -> bool:
        """Tell whether what would be done now is what the user has approved, to the letter."""
        try:
            tool, arguments = read_call(found.turn.document["calls"][found.place], toolset)
        except InvalidCall:
            return False
        action = hash_of(tool.name, arguments.model_dump(mode="json"), scope_of(tool, toolset.scope))
        return action == found.approval.document["hash"]


def _answered(event: EventDocument, turn: Turn, place: int | None = None) -> Done:
    """Give the end of a decision by which a call has its result, and what follows from that call."""
    outputs = [] if place is None else following_of(turn.document, place)
    return Done([*outputs, *resumption(event, turn)], [turn.operation()])
