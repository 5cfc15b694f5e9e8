"""What the platform answers, in the wire's own names."""

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


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


class Conversation(TypedDict):
    """A conversation, without its messages; ``waiting`` lists those that have no answer yet."""

    id: str
    title: str
    model: str | None
    systemPrompt: str | None
    tools: list[dict[str, str]]
    repo: str | None
    network: Literal["full", "none"]
    budget: dict[str, Any] | None
    createdAt: str
    updatedAt: str
    waiting: list[str]


class Approval(TypedDict):
    """What a model wants to do, exactly, and what its user says to it."""

    id: str
    conversationID: str
    tool: str
    arguments: dict[str, Any]
    scope: dict[str, Any]
    hash: str
    state: Literal["pending", "approved", "refused", "expired", "cancelled"]
    eventID: str
    createdAt: str
    expiresAt: str
    decidedAt: str | None


class ApprovalPage(TypedDict):
    """A page of approvals; ``next`` is the ``page`` behind it."""

    approvals: list[Approval]
    next: str | None


class AuditRecord(TypedDict):
    """A line of the audit trail; its fields are the columns, in their order."""

    at: str | None
    kind: Literal[
        "event", "model_call", "run", "commit", "delivery", "approval", "cancel", "discard", "replay"
    ]
    userID: str
    eventID: str
    seq: int
    root: str
    cause: str | None
    conversationID: str | None
    name: str
    id: str | None
    state: str | None
    by: str | None
    number: int | None
    endedAt: str | None
    seconds: float | None
    inputTokens: int | None
    outputTokens: int | None
    dollars: float | None
    exitCode: int | None
    httpStatus: int | None
    cpu: float | None
    memoryMiB: int | None
    diskMiB: int | None
    error: str | None
    detail: str | None


class AuditPage(TypedDict):
    """A page of the audit trail; ``next`` is the ``after`` of the page behind it."""

    records: list[AuditRecord]
    next: int | None


class ConversationPage(TypedDict):
    """A page of conversations; ``next`` is the ``page`` behind it."""

    conversations: list[Conversation]
    next: str | None


class MessagePage(TypedDict):
    """A page of the events of a conversation; ``next`` is the ``before`` of the page behind it."""

    messages: list[Event]
    next: int | None


class Run(TypedDict):
    """The run of a task in a container of its own."""

    id: str
    taskID: str
    status: Literal[
        "waiting", "starting", "running", "succeeded", "failed", "timed_out", "out_of_memory", "cancelled"
    ]
    message: str | None
    exitCode: int | None
    error: Problem | None
    agent: str | None
    image: str | None
    command: list[str] | None
    createdAt: str
    startedAt: str | None
    endedAt: str | None
    repo: str | None
    base: str | None
    commit: str | None
    logChars: int


class RunProgress(TypedDict):
    """How far a run has come, as it says itself."""

    at: str
    message: str
    percent: float | None


class RunMetric(TypedDict):
    """The latest value of something that a run measures."""

    at: str
    name: str
    value: float
    unit: str | None


class RunQuestion(TypedDict):
    """What a run asks its user."""

    id: str
    at: str
    question: str
    options: list[str]


class RunMessage(TypedDict):
    """What a user says to a run."""

    number: int
    at: str
    content: str
    questionID: str | None


class RunResult(TypedDict):
    """What came of a run, as it says itself."""

    at: str
    output: Any
    message: str | None


class RunWithReport(Run):
    """A run, with what it says of itself and what it was told."""

    progress: list[RunProgress]
    metrics: list[RunMetric]
    questions: list[RunQuestion]
    messages: list[RunMessage]
    result: RunResult | None


class RunPage(TypedDict):
    """A page of runs; ``next`` is the ``page`` behind it."""

    runs: list[Run]
    next: str | None


class RunLog(TypedDict):
    """A part of what a run printed; ``next`` is the ``offset`` to go on from until it is ``complete``."""

    text: str
    offset: int
    next: int
    complete: bool


class RepositoryShown(TypedDict):
    """A repository; ``url`` says where it lives, if not here, and ``commit`` is the newest one."""

    id: str
    name: str
    url: str | None
    credentials: bool
    createdAt: str
    commit: NotRequired[str | None]


class FileEntry(TypedDict):
    """A file of a commit."""

    path: str
    kind: Literal["file", "executable", "symlink", "submodule"]
    size: int | None
    id: str


class FilePage(TypedDict):
    """A page of files; ``next`` is the ``after`` of the page behind it."""

    commit: str | None
    files: list[FileEntry]
    next: str | None


class CommitMade(TypedDict):
    """The commit that holds a change; ``created`` says whether it was made now."""

    commit: str | None
    created: bool


class FoundLine(TypedDict):
    """A line that was found."""

    path: str
    line: int
    text: str


class FoundLines(TypedDict):
    """Lines that were found."""

    commit: str | None
    matches: list[FoundLine]
    truncated: bool


class CommitTold(TypedDict):
    """A commit of the history."""

    id: str
    parents: list[str]
    author: str
    time: str
    message: str
    runID: str | None
    eventID: str | None
    reverts: str | None


class CommitPage(TypedDict):
    """A page of the history; ``next`` is the ``skip`` of the page behind it."""

    commits: list[CommitTold]
    next: int | None


class ChangedFile(TypedDict):
    """A file that two commits differ in."""

    path: str
    status: Literal["added", "changed", "deleted", "renamed", "retyped"]
    before: str | None


class Difference(TypedDict):
    """What two commits differ in."""

    base: str | None
    commit: str | None
    files: list[ChangedFile]
    patch: str
    truncated: bool


class ScheduledEvent(TypedDict):
    """The event that a schedule fires."""

    type: str
    source: str
    metadata: dict[str, Any]


class Fire(TypedDict):
    """A slot of a schedule that came, and what became of it."""

    id: str
    seq: int
    slot: str
    plannedAt: str
    reason: Literal["due", "missed", "now", "backfill"]
    recordedAt: str
    outcome: Literal["waiting", "fired", "skipped", "dead", "cancelled"]
    events: list[str]
    error: dict[str, str] | None


class FirePage(TypedDict):
    """A page of slots, newest first; ``next`` is the ``before`` of the page behind it."""

    fires: list[Fire]
    next: int | None


class Schedule(TypedDict):
    """A schedule; ``fires`` is there where it is read alone."""

    id: str
    userID: str
    event: ScheduledEvent
    timestamp: str | None
    cron: str | None
    every: float | None
    timezone: str
    startAt: str | None
    endAt: str | None
    jitter: float
    overlap: Literal["skip", "queue", "allow", "cancel-previous"]
    catchUp: Literal["none", "latest", "all"]
    catchUpWindow: float
    description: str | None
    state: Literal["active", "paused", "ended"]
    reason: str | None
    nextFires: list[str]
    fired: int
    missed: int
    createdAt: str
    updatedAt: str
    fires: NotRequired[list[Fire]]


class SchedulePage(TypedDict):
    """A page of schedules; ``next`` is the ``page`` of the page behind it."""

    schedules: list[Schedule]
    next: str | None


class Token(TypedDict):
    """An access token (the shape of RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    userID: str
    refresh_token: NotRequired[str]
    refresh_expires_in: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, on its way before the answer is recorded.

    Parameters:
      event: The `llm.chat` that is being answered.
      attempt: The attempt that wrote it, replays included; a later one voids the earlier.
      offset: How many characters of the answer come before it.
      text: The piece.
    """

    event: str
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class RunFrame:
    """What a run shows of itself while it goes on; its end is an event, `worker.task.result`.

    Parameters:
      kind: ``run`` says where it stands, ``log`` what it printed next, ``progress`` how far it has come.
      run: Its id.
      task: The `worker.task` that it is of.
      text: ``starting`` or ``running``; what was printed; what it says of its progress.
      offset: For ``log``: how many characters were printed before.
      percent: For ``progress``, if the run gives one.
    """

    kind: Literal["run", "log", "progress"]
    run: str
    task: str
    text: str
    offset: int = 0
    percent: float | None = None


#: What a stream brings.
Frame: TypeAlias = Event | Delta | RunFrame


@dataclass(frozen=True, slots=True)
class Answer:
    """A recorded answer.

    Parameters:
      id: Of the `llm.chat.response`.
      content: The text.
      conversation: The conversation's id, to go on in it.
      model: Which model wrote it.
      finish_reason: Why it stopped.
      usage: Tokens, as the model's server counted them.
      event: The `llm.chat` with its outputs, as the platform tells it.
    """

    id: str
    content: str
    conversation: str
    model: str
    finish_reason: str
    usage: dict[str, int] | None
    event: EventWithOutputs
