"""Runs of agents."""

from typing import Any, Literal, TypedDict

from lightning.client.shapes.events import Problem


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
