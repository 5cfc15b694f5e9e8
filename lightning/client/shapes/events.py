"""Events, and what followed from them."""

from typing import Any, Literal, NotRequired, TypedDict


class Problem(TypedDict):
    """Why an event did not end well."""

    code: str
    message: str


class _EventFields(TypedDict):
    id: str
    seq: int
    type: str
    source: str
    userID: str
    timestamp: str
    recordedAt: str
    metadata: dict[str, Any]
    root: str
    cause: str | None
    state: Literal["accepted", "done", "dead", "cancelled"]
    attempts: int
    error: Problem | None
    endedAt: NotRequired[str | None]
    replayOf: NotRequired[str | None]


class Event(_EventFields):
    """An event as it stands in the log."""

    outputs: list[str]


class Output(TypedDict):
    """An event that followed from another."""

    id: str
    type: str
    state: str
    metadata: dict[str, Any]


class EventWithOutputs(_EventFields):
    """An event with what followed from it."""

    outputs: list[Output]


class EventPage(TypedDict):
    """A page of events; ``next`` is the ``after`` (or ``before``) of the page behind it."""

    events: list[Event]
    next: int | None


class TreeRun(TypedDict):
    """The run of a task in a tree."""

    id: str
    status: str


class TreeNode(TypedDict):
    """An event in a tree; ``seconds`` is from its recording to its end."""

    id: str
    seq: int
    type: str
    cause: str | None
    state: Literal["accepted", "done", "dead", "cancelled"]
    name: str | None
    recordedAt: str
    endedAt: str | None
    seconds: float | None
    run: TreeRun | None
    status: str | None
    error: Problem | None


class EventTree(TypedDict):
    """A page of a tree; ``next`` is the ``after`` of the page behind it."""

    root: str
    events: list[TreeNode]
    next: int | None
