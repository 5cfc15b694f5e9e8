"""What a run says of itself while it goes on, and what its user says to it; all of it bounded.

It stands in one document beside the run's own, which the worker alone writes: neither is in the other's way.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, NotRequired, TypedDict, TypeVar, cast

from lightning.domain.agent_metrics import AgentMetrics
from lightning.domain.runs import RunDocument
from lightning.errors import Conflict
from lightning.events import now_text
from lightning.storage import Create, Operation, Replace, Storage, Stored

CONTAINER: Final = "events"

#: The latest so many are kept.
MAX_PROGRESS: Final = 20

#: Names of metrics; of each, its latest value is kept.
MAX_METRICS: Final = 100

#: Of one run, all together; further ones are refused.
MAX_QUESTIONS: Final = 20
MAX_MESSAGES: Final = 40
MAX_SUBTASKS: Final = 40

Value = TypeVar("Value")


class Progress(TypedDict):
    """How far a run has come."""

    at: str
    message: str
    percent: float | None


class Metric(TypedDict):
    """The latest value of something that a run measures."""

    at: str
    name: str
    value: float
    unit: str | None


class Question(TypedDict):
    """What a run asks its user."""

    id: str
    at: str
    question: str
    options: list[str]


class MessageToRun(TypedDict):
    """What a user says to a run; ``number`` counts from 1, and ``key`` is the sender's own."""

    number: int
    at: str
    content: str
    questionID: str | None
    key: NotRequired[str]


class Result(TypedDict):
    """What came of a run, as it says itself."""

    at: str
    output: Any
    message: str | None


class Started(TypedDict):
    """Tasks that a run started under a key."""

    key: str
    digest: str
    number: int


class ReportDocument(TypedDict):
    """Everything of one run, as it stands in the store."""

    id: str
    userID: str
    kind: Literal["run.report"]
    state: Literal["done"]
    runID: str
    progress: list[Progress]
    metrics: list[Metric]
    questions: list[Question]
    messages: list[MessageToRun]
    result: Result | None
    started: NotRequired[list[Started]]


class RunReports:
    """What runs have said and been told.

    Parameters:
      storage: Where it stands, beside the runs.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._agent_metrics = AgentMetrics()

    async def read(self, run: RunDocument) -> ReportDocument:
        """Read what a run has said; one that has said nothing has an empty report."""
        stored = await self._storage.get(CONTAINER, run["userID"], _id(run))
        return _document(run, stored)

    async def progress(self, run: RunDocument, message: str, percent: float | None) -> Progress:
        """Note how far a run has come."""
        noted: Progress = {"at": now_text(), "message": message, "percent": percent}

        def change(report: ReportDocument) -> Progress:
            report["progress"] = [*report["progress"], noted][-MAX_PROGRESS:]
            return noted

        return await self._change(run, change)

    async def metric(self, run: RunDocument, name: str, value: float, unit: str | None) -> Metric:
        """Note the value of a metric.

        Raises:
          Conflict: The run has named too many (``too_many_metrics``).
        """
        noted: Metric = {"at": now_text(), "name": name, "value": value, "unit": unit}

        def change(report: ReportDocument) -> Metric:
            others = [each for each in report["metrics"] if each["name"] != name]
            _room(others, MAX_METRICS, "metrics", "/name")
            report["metrics"] = [*others, noted]
            return noted

        told = await self._change(run, change)
        self._agent_metrics.note(run["agent"], name, value, unit)
        return told

    async def result(self, run: RunDocument, output: Any, message: str | None) -> Result:
        """Note what came of a run; the latest word counts."""
        noted: Result = {"at": now_text(), "output": output, "message": message}

        def change(report: ReportDocument) -> Result:
            known = report["result"]
            if known is not None and (known["output"], known["message"]) == (output, message):
                return known
            report["result"] = noted
            return noted

        return await self._change(run, change)

    async def ask(self, run: RunDocument, question_id: str, question: str, options: list[str]) -> Question:
        """Note a question, once under its id.

        Raises:
          Conflict: Another one has this id (``id_taken``), or the run has asked too many
            (``too_many_questions``).
        """
        noted: Question = {"id": question_id, "at": now_text(), "question": question, "options": options}

        def change(report: ReportDocument) -> Question:
            for each in report["questions"]:
                if each["id"] == question_id:
                    if (each["question"], each["options"]) != (question, options):
                        raise Conflict("another question was asked under this key", code="id_taken")
                    return each
            _room(report["questions"], MAX_QUESTIONS, "questions", "/question")
            report["questions"] = [*report["questions"], noted]
            return noted

        return await self._change(run, change)

    async def starting(self, run: RunDocument, key: str, digest: str, number: int) -> None:
        """Note that a run starts tasks, once under a key.

        Parameters:
          run: The run.
          key: The key.
          digest: Tells what is started from all else.
          number: How many tasks that are.

        Raises:
          Conflict: Others were started under this key (``id_taken``), or the run has started too many
            (``too_many_subtasks``).
        """
        noted: Started = {"key": key, "digest": digest, "number": number}

        def change(report: ReportDocument) -> None:
            known = report.get("started", [])
            for each in known:
                if each["key"] == key:
                    if each["digest"] != digest:
                        raise Conflict("other tasks were started under this key", code="id_taken")
                    return
            if sum(each["number"] for each in known) + number > MAX_SUBTASKS:
                message = f"a run starts at most {MAX_SUBTASKS} tasks"
                raise Conflict(message, code="too_many_subtasks")
            report["started"] = [*known, noted]

        await self._change(run, change)

    async def tell(
        self, run: RunDocument, content: str, question_id: str | None, key: str | None
    ) -> MessageToRun:
        """Leave a message for a run, once under its key.

        Raises:
          Conflict: Another one has this key (``id_taken``), or the run has got too many
            (``too_many_messages``).
        """

        def change(report: ReportDocument) -> MessageToRun:
            for each in report["messages"]:
                if key is not None and each.get("key") == key:
                    if (each["content"], each["questionID"]) != (content, question_id):
                        raise Conflict("another message was sent under this key", code="id_taken")
                    return each
            _room(report["messages"], MAX_MESSAGES, "messages", "/content")
            noted: MessageToRun = {
                "number": len(report["messages"]) + 1,
                "at": now_text(),
                "content": content,
                "questionID": question_id,
            }
            if key is not None:
                noted["key"] = key
            report["messages"] = [*report["messages"], noted]
            return noted

        return await self._change(run, change)

    async def _change(self, run: RunDocument, change: Callable[[ReportDocument], Value]) -> Value:
        """Change a report, whoever else does; what is told is that of the change that was written."""
        told: list[Value] = []

        def build(stored: Stored | None) -> list[Operation]:
            report = _document(run, stored)
            told[:] = [change(report)]
            body = cast("dict[str, Any]", report)
            if stored is None:
                return [Create(body)]
            return [] if body == stored.body else [Replace(body, stored.etag)]

        await self._storage.batch_on(CONTAINER, run["userID"], _id(run), build)
        return told[0]


def _id(run: RunDocument) -> str:
    return f"{run['id']}-report"


def _document(run: RunDocument, stored: Stored | None) -> ReportDocument:
    if stored is not None:
        return cast("ReportDocument", {**stored.body})
    return {
        "id": _id(run),
        "userID": run["userID"],
        "kind": "run.report",
        "state": "done",
        "runID": run["id"],
        "progress": [],
        "metrics": [],
        "questions": [],
        "messages": [],
        "result": None,
    }


def _room(known: list[Any], most: int, what: str, pointer: str) -> None:
    if len(known) >= most:
        message = f"a run has at most {most} {what}"
        raise Conflict(message, code=f"too_many_{what}", pointer=pointer)
