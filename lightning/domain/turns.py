"""Turns: what a model replied that calls tools, written down before any of them acts.

Each reply is one document in its user's partition. A call that has no result yet and waits for an event (a
run, a person) stands in ``outstanding``; whoever has its result takes it out, and the change that leaves none
is the one that lets the model go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from lightning.errors import Conflict
from lightning.events import EventDocument, now_text
from lightning.ids import turn_id, waiting_id
from lightning.llm import Completion
from lightning.storage import Create, Delete, Operation, Replace, Storage, Stored, Upsert, Where

CONTAINER: Final = "events"
KIND: Final = "turn"
WAITING: Final = "turn.waiting"

#: Calls of one reply that are made.
MAX_CALLS: Final = 16

#: Bytes of the arguments of all calls of one reply.
MAX_REPLY_BYTES: Final = 128 * 1024


class Following(TypedDict):
    """An event that follows from a call."""

    type: str
    metadata: dict[str, Any]


class Asks(TypedDict):
    """What a call needs a person's word for: its arguments, and what it would touch; until then it waits."""

    arguments: dict[str, Any]
    scope: dict[str, Any]
    expiresAt: float


class Committed(TypedDict):
    """A commit that a call made: its name, and the id of the repository."""

    repo: str
    commit: str


class CallDocument(TypedDict):
    """One call of a tool.

    ``result`` is what the model is told; ``follows`` is recorded with the end of the event that made the
    call. ``awaits`` is the id of the event that it waits for; ``asks`` says what a person is asked, and
    ``commit`` what it committed.
    """

    id: str
    name: str
    arguments: str
    result: str | None
    follows: NotRequired[Following]
    awaits: NotRequired[str]
    asks: NotRequired[Asks]
    commit: NotRequired[Committed]


class TurnDocument(TypedDict):
    """A reply of a model as it stands in the store.

    ``turnID`` is the event that the turn began with, ``eventID`` the one that was worked on when the model
    replied; ``seq`` is its place. ``number`` counts the replies of the turn. ``closed``: with it ended the
    work on that event.
    """

    id: str
    userID: str
    kind: Literal["turn"]
    state: Literal["accepted", "done"]
    seq: int
    conversationID: str
    turnID: str
    eventID: str
    number: int
    content: str
    model: str
    usage: dict[str, int] | None
    calls: list[CallDocument]
    outstanding: list[int]
    closed: bool
    createdAt: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply in one version of its document."""

    document: TurnDocument
    etag: str

    def with_call(self, place: int, call: CallDocument) -> "Turn":
        """Give it with one call changed; its place is outstanding exactly while it waits."""
        calls = [*self.document["calls"]]
        calls[place] = call
        others = [each for each in self.document["outstanding"] if each != place]
        waits = call["result"] is None and "awaits" in call
        outstanding = sorted([*others, place]) if waits else others
        document: TurnDocument = {**self.document, "calls": calls, "outstanding": outstanding}
        return replace(self, document=document)

    def answered(self, place: int, text: str) -> "Turn":
        """Give it with the result of a call that waited."""
        call: CallDocument = {**self.document["calls"][place], "result": text}
        return self.with_call(place, call)

    def closed(self) -> "Turn":
        """Give it as the end of the work on its event."""
        return replace(self, document={**self.document, "closed": True})

    def operation(self) -> Replace:
        """Write it down, unless somebody else has changed it meanwhile."""
        state: Literal["accepted", "done"] = "accepted" if self.document["outstanding"] else "done"
        document: TurnDocument = {**self.document, "state": state}
        return Replace(cast("dict[str, Any]", document), self.etag)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits for an event.

    Parameters:
      turn: The reply that made it.
      place: Its place in it.
      operation: Forgets that it waits.
    """

    turn: Turn
    place: int
    operation: Operation


class Turns:
    """The replies of all users' turns.

    Parameters:
      storage: Where they stand, beside the events.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def of(self, user_id: str, event_id: str) -> list[Turn]:
        """Read the replies of the turn that an event began, in their order."""
        found: list[Turn] = []
        while (turn := await self.find(user_id, turn_id(event_id, len(found)))) is not None:
            found.append(turn)
        return found

    async def find(self, user_id: str, id: str) -> Turn | None:
        """Read one reply."""
        stored = await self._storage.get(CONTAINER, user_id, id)
        return None if stored is None else Turn(_as_turn(stored), stored.etag)

    async def said(self, user_id: str, conversation: str, first: int, last: int) -> list[TurnDocument]:
        """Read the replies that were made for the events of a conversation between two places."""
        where = [
            Where("kind", "=", KIND),
            Where("conversationID", "=", conversation),
            Where("seq", ">=", first),
            Where("seq", "<=", last),
        ]
        found: list[TurnDocument] = []
        page: str | None = None
        while True:
            answer = await self._storage.query(CONTAINER, user_id, where, order_by="seq", page=page)
            found += [_as_turn(stored) for stored in answer.items]
            page = answer.next
            if page is None:
                return sorted(found, key=lambda each: (each["seq"], each["number"]))

    async def record(
        self, event: EventDocument, began: str, conversation: str, number: int, reply: Completion
    ) -> Turn:
        """Write a reply down; where an attempt before has written one, that one counts.

        Parameters:
          event: The event that is worked on.
          began: The event that the turn began with.
          conversation: Its conversation.
          number: Which reply of the turn.
          reply: The reply.
        """
        document: TurnDocument = {
            "id": turn_id(began, number),
            "userID": event["userID"],
            "kind": KIND,
            "state": "done",
            "seq": event["seq"],
            "conversationID": conversation,
            "turnID": began,
            "eventID": event["id"],
            "number": number,
            "content": reply.content,
            "model": reply.model,
            "usage": None if reply.usage is None else _usage(reply),
            "calls": _calls(reply),
            "outstanding": [],
            "closed": False,
            "createdAt": now_text(),
        }
        body = cast("dict[str, Any]", document)
        try:
            [etag] = await self._storage.batch(CONTAINER, event["userID"], [Create(body)])
        except Conflict:
            found = await self.find(event["userID"], document["id"])
            if found is None:
                raise
            return found
        return Turn(document, etag)

    async def write(self, turn: Turn) -> Turn:
        """Write a reply down as it is now.

        Raises:
          PreconditionFailed: Somebody else has changed it meanwhile.
        """
        operation = turn.operation()
        [etag] = await self._storage.batch(CONTAINER, turn.document["userID"], [operation])
        return Turn(cast("TurnDocument", operation.body), etag)

    async def waiting(self, user_id: str, event_id: str) -> Waiting | None:
        """Find the call that waits for an event; None when none does (any more)."""
        stored = await self._storage.get(CONTAINER, user_id, waiting_id(event_id))
        if stored is None:
            return None
        turn = await self.find(user_id, stored.body["turn"])
        place: int = stored.body["place"]
        if turn is None or place not in turn.document["outstanding"]:
            return None
        return Waiting(turn, place, Delete(stored.body["id"], stored.etag))


def wait_for(turn: TurnDocument, place: int, event_id: str) -> Operation:
    """Note that a call waits for an event, so that whoever has its answer finds the call."""
    return Upsert(
        {
            "id": waiting_id(event_id),
            "userID": turn["userID"],
            "kind": WAITING,
            "state": "accepted",
            "seq": turn["seq"],
            "conversationID": turn["conversationID"],
            "turn": turn["id"],
            "place": place,
        }
    )


def name_of(turn: TurnDocument, place: int) -> str:
    """Name a call within its turn."""
    return f"{turn['number']}.{place}"


def _calls(reply: Completion) -> list[CallDocument]:
    room = MAX_REPLY_BYTES
    calls: list[CallDocument] = []
    for place, call in enumerate(reply.tool_calls):
        room -= len(call.arguments.encode(errors="replace"))
        refused = None
        if place >= MAX_CALLS:
            refused = f"Error: it was not called; at most {MAX_CALLS} calls are made of one reply."
        elif room < 0:
            refused = (
                f"Error: it was not called; the arguments of one reply have at most {MAX_REPLY_BYTES} bytes."
            )
        arguments = call.arguments if refused is None else "{}"
        calls.append({"id": call.id, "name": call.name, "arguments": arguments, "result": refused})
        if place >= MAX_CALLS:
            break
    return calls


def _usage(reply: Completion) -> dict[str, int]:
    usage = reply.usage
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _as_turn(stored: Stored) -> TurnDocument:
    return cast("TurnDocument", stored.body)


def unfinished(turns: Sequence[Turn], event_id: str) -> Turn | None:
    """Give the reply of an event whose calls are not all over, nor wait."""
    last = turns[-1] if turns else None
    if last is None or last.document["eventID"] != event_id or last.document["closed"]:
        return None
    return last
