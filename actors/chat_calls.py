"""Makes the calls of a reply: each once, in their order, as far as the conversation's user allows.

Whatever is decided about a call is written into its reply before the next one is made. What has to wait, for
a run or for a person, is asked for by the end of the work on the event, in one batch with it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from actors.holding import ClaimLost
from actors.outcome import Output
from lightning.crash import CrashPoint, no_crash
from lightning.domain.approvals import ApprovalDocument, creation, expiry_text, new_approval
from lightning.domain.turns import Asks, CallDocument, Turn, TurnDocument, Turns, name_of, wait_for
from lightning.errors import LightningError, Transient
from lightning.events import (
    ApprovalExpiryMetadata,
    ApprovalRequestedMetadata,
    Awaited,
    EventDocument,
)
from lightning.ids import derived_id
from lightning.log import EventLog
from lightning.metadata import Metadata
from lightning.storage import Operation
from lightning.tools import Acted, Call, InvalidCall, Parts, Scope, Tool, Toolset, arguments_of, bounded

SOURCE: Final = "lightning.chat"

#: Events that follow from the calls that are made for one event, besides those that are waited for.
MAX_FOLLOWING: Final = 20


@dataclass(frozen=True, slots=True)
class Closing:
    """What ends the work on an event whose calls wait.

    Parameters:
      outputs: What follows.
      writes: What is written with it.
      waits_for: What is waited for, for people.
    """

    outputs: list[Output]
    writes: list[Operation]
    waits_for: list[Awaited]


class ChatCalls:
    """Makes calls.

    Parameters:
      turns: Where replies stand.
      log: Says whether an event is still to be worked on.
      parts: What tools work with.
      approval_seconds: An approval that nobody has decided for so long is refused.
      crash: Told of every point between reply, effect and note.
    """

    def __init__(
        self,
        turns: Turns,
        log: EventLog,
        parts: Parts,
        *,
        approval_seconds: float,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._turns = turns
        self._log = log
        self._parts = parts
        self._approval_seconds = approval_seconds
        self._crash = crash

    async def make(self, event: EventDocument, turns: Sequence[Turn], toolset: Toolset) -> Turn:
        """Make the calls of the last reply that nobody has made, as far as they need not wait.

        Parameters:
          event: The event that is worked on.
          turns: The replies of its turn.
          toolset: What they may do.
        """
        turn = turns[-1]
        for place, call in enumerate(turn.document["calls"]):
            if call["result"] is not None or "awaits" in call:
                continue
            room = MAX_FOLLOWING - len(following([*turns[:-1], turn], event["id"]))
            made = await self._make(event, turn, place, toolset, room=room)
            self._crash("turn:acted")
            turn = await self._turns.write(turn.with_call(place, made))
            self._crash("turn:noted")
        return turn

    async def _make(
        self, event: EventDocument, turn: Turn, place: int, toolset: Toolset, *, room: int
    ) -> CallDocument:
        call = turn.document["calls"][place]
        try:
            tool, arguments = read_call(call, toolset)
        except InvalidCall as error:
            return {**call, "result": f"Error: {error.message}"}
        if toolset.asks(tool):
            asks: Asks = {
                "arguments": _plain(arguments),
                "scope": scope_of(tool, toolset.scope),
                "expiresAt": round(time.time() + self._approval_seconds, 3),
            }
            awaits = derived_id(event["id"], f"call-{name_of(turn.document, place)}")
            return {**call, "awaits": awaits, "asks": asks}
        return await self.act(event, turn, place, toolset, room=room)

    async def act(
        self, event: EventDocument, turn: Turn, place: int, toolset: Toolset, *, room: int = MAX_FOLLOWING
    ) -> CallDocument:
        """Make one call that needs nobody's word (any more), and give it with what came of it.

        Raises:
          Transient: It could not be made now.
          ClaimLost: The event was cancelled or interrupted: nothing is to come of it.
        """
        call = turn.document["calls"][place]
        name = name_of(turn.document, place)
        try:
            tool, arguments = read_call(call, toolset)
            if tool.effect != "nothing":
                await self._check_wanted(event)
            if tool.effect == "event" and room < 1:
                raise InvalidCall(f"at most {MAX_FOLLOWING} events follow from one turn")
            acted = await tool.act(Call(toolset.scope, self._parts, turn.document["turnID"], name), arguments)
        except (Transient, ClaimLost):
            raise
        except LightningError as error:
            return {**call, "result": f"Error: {error.message}"}
        return _noted(call, acted, derived_id(event["id"], f"call-{name}"))

    async def _check_wanted(self, event: EventDocument) -> None:
        current = await self._log.get(event["userID"], event["id"])
        if current is None or current["state"] != "accepted" or await self._log.is_cancelled(current):
            raise ClaimLost("the event was cancelled or interrupted before a tool acted")

    def close(self, event: EventDocument, turns: Sequence[Turn]) -> Closing:
        """Give what ends the work on an event whose last reply waits."""
        turn = turns[-1].closed()
        closing = Closing(following(turns, event["id"]), [turn.operation()], [])
        for place in turn.document["outstanding"]:
            outputs, writes, awaited = wait(event, turn, place)
            closing.outputs.extend(outputs)
            closing.writes.extend(writes)
            closing.waits_for.append(awaited)
        return closing


def following(turns: Sequence[Turn], event_id: str) -> list[Output]:
    """Give the events that follow from the calls that were made for an event, without those waited for."""
    return [
        output
        for turn in turns
        if turn.document["eventID"] == event_id
        for place in range(len(turn.document["calls"]))
        for output in following_of(turn.document, place)
    ]


def following_of(turn: TurnDocument, place: int) -> list[Output]:
    """Give the event that follows from a call which does not wait for it, if there is one."""
    call = turn["calls"][place]
    if "follows" not in call or call["result"] is None or ("awaits" in call and "asks" not in call):
        return []
    follows = call["follows"]
    return [Output(f"call-{name_of(turn, place)}", follows["type"], follows["metadata"], SOURCE)]


def wait(event: EventDocument, turn: Turn, place: int) -> tuple[list[Output], list[Operation], Awaited]:
    """Give what has an answer come to a call that waits: what follows, what is written, what people see."""
    document = turn.document
    call, name = document["calls"][place], name_of(document, place)
    awaits = call.get("awaits", "")
    if "asks" not in call:
        follows = call.get("follows")
        if follows is None:
            raise ValueError("a call that waits for an event has it follow")
        output = Output(f"call-{name}", follows["type"], follows["metadata"], SOURCE)
        return [output], [wait_for(document, place, awaits)], Awaited(call=call["name"], eventID=awaits)
    asks = call["asks"]
    approval = new_approval(
        event,
        awaits,
        derived_id(event["id"], f"expiry-{name}"),
        conversation=document["conversationID"],
        turn=document["id"],
        place=place,
        tool=call["name"],
        arguments=asks["arguments"],
        scope=asks["scope"],
        expires_at=asks["expiresAt"],
    )
    requested = Output(f"call-{name}", "approval.requested", _requested(approval), SOURCE)
    expiry = Output(
        f"expiry-{name}",
        "approval.expiry",
        ApprovalExpiryMetadata(approvalID=approval["id"]),
        SOURCE,
        after_seconds=max(0.0, asks["expiresAt"] - time.time()),
    )
    told = Awaited(call=call["name"], eventID=awaits, approvalID=approval["id"])
    return [requested, expiry], [creation(approval)], told


def scope_of(tool: Tool, scope: Scope) -> dict[str, Any]:
    """Give what a tool would touch, as far as the conversation says it: an approval holds for no other."""
    touched: dict[str, Any] = {"conversation": scope.conversation_id}
    if tool.needs_repo or tool.effect == "event":
        touched["repo"] = scope.repo
    if tool.effect == "event":
        budget = scope.budget
        touched["network"] = scope.network
        touched["budget"] = None if budget is None else budget.model_dump(mode="json", exclude_none=True)
    return touched


def read_call(call: CallDocument, toolset: Toolset) -> tuple[Tool, Metadata]:
    """Give the tool of a call, and its arguments.

    Raises:
      InvalidCall: The conversation has no such tool (any more), or the arguments do not fit it.
    """
    tool = toolset.tools.get(call["name"])
    if tool is None:
        offered = ", ".join(toolset.tools) or "none"
        raise InvalidCall(f"there is no tool of the name {call['name'][:100]!r} here; there is: {offered}")
    return tool, arguments_of(tool, call["arguments"])


def _plain(arguments: Metadata) -> dict[str, Any]:
    return arguments.model_dump(mode="json")


def _noted(call: CallDocument, acted: Acted, event_id: str) -> CallDocument:
    """Note what came of a call; ``event_id`` is that of what follows from it."""
    noted: CallDocument = {**call}
    if acted.event is not None:
        metadata = acted.event.metadata.model_dump(mode="json", exclude_none=True)
        noted["follows"] = {"type": acted.event.type, "metadata": metadata}
    if acted.commit is not None:
        noted["commit"] = acted.commit
    if acted.waits:
        noted["awaits"] = event_id
        noted.pop("asks", None)
    else:
        noted["result"] = bounded(acted.text)
    return noted


def _requested(approval: ApprovalDocument) -> ApprovalRequestedMetadata:
    return ApprovalRequestedMetadata(
        approvalID=approval["id"],
        conversationID=approval["conversationID"],
        tool=approval["tool"],
        arguments=approval["arguments"],
        hash=approval["hash"],
        expiresAt=expiry_text(approval),
    )
