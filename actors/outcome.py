"""What a handler may answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from lightning.errors import Permanent, Transient
from lightning.events import TYPES, Draft, EventDocument, now_text
from lightning.ids import derived_id
from lightning.storage import Operation
from lightning.telemetry import carrier

#: A step makes no more than this, on every store alike (a batch of Cosmos DB takes 100 and 2 MB).
MAX_OPERATIONS = 90
MAX_OUTCOME_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """An event that follows from the one that was handled.

    Parameters:
      name: Its name among the outputs of its cause; with the cause's id it makes its id.
      type: Its event type.
      metadata: What it says.
      source: Who speaks.
      after_seconds: It is worked on so much later.
    """

    name: str
    type: str
    metadata: BaseModel | Mapping[str, Any]
    source: str
    after_seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Give the metadata in the form of JSON."""
        if isinstance(self.metadata, BaseModel):
            return self.metadata.model_dump(mode="json", exclude_none=True)
        return dict(self.metadata)

    def draft(self, cause: EventDocument, *, despite_cancel: bool = False) -> Draft:
        """Write it down as it is recorded.

        Parameters:
          cause: The event that it follows from.
          despite_cancel: Whether it is worked on although its root was cancelled.
        """
        return Draft(
            id=derived_id(cause["id"], self.name),
            type=self.type,
            source=self.source,
            metadata=self.document(),
            timestamp=now_text(),
            trace=carrier.current() or cause["trace"],
            despite_cancel=despite_cancel,
            after_seconds=self.after_seconds,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """The event is finished; these events follow, and these documents are written with it."""

    outputs: Sequence[Output] = ()
    writes: Sequence[Operation] = field(default=())


@dataclass(frozen=True, slots=True)
class Again:
    """The event is not finished; look at it again after so many seconds. Nothing is held meanwhile.

    Parameters:
      after_seconds: When to look again.
      outputs: Events that follow already, recorded in the same batch.
      keep_attempts: This look was no attempt, and the failed ones before it still count; otherwise
        there was progress, and they are forgotten.
      waits_for: What the event tells meanwhile as its error; None changes nothing of what it tells.
    """

    after_seconds: float
    keep_attempts: bool = False
    outputs: Sequence[Output] = ()
    waits_for: Transient | None = None


Outcome = Done | Again


def has_sequel(outcome: object) -> bool:
    """Tell whether something is to come of an outcome, which must not once the event's root is cancelled.

    Where nothing is, what was done is done: whether to do it was asked before.
    """
    if isinstance(outcome, Done):
        return bool(outcome.outputs or outcome.writes)
    return isinstance(outcome, Again)


def check(outcome: object) -> None:
    """Refuse an outcome that could be recorded but not be worked on.

    Raises:
      Permanent: It is no outcome (``invalid_outcome``), one of its outputs does not fit its type
        (``invalid_output``), or it is too large (``output_too_large``).
    """
    if not isinstance(outcome, Done | Again):
        raise Permanent(f"the handler returned {type(outcome).__name__}", code="invalid_outcome")
    if len({output.name for output in outcome.outputs}) < len(outcome.outputs):
        raise Permanent("two outputs have one name", code="invalid_output")
    size = sum(len(orjson.dumps(_checked(output))) for output in outcome.outputs)
    writes = outcome.writes if isinstance(outcome, Done) else ()
    size += sum(len(orjson.dumps(getattr(write, "body", None))) for write in writes)
    operations = len(outcome.outputs) + len(writes)
    if operations > MAX_OPERATIONS or size > MAX_OUTCOME_BYTES:
        raise Permanent(
            f"the outcome has {operations} documents and {size} bytes; at most {MAX_OPERATIONS} and"
            f" {MAX_OUTCOME_BYTES} are possible, larger data belongs into a file that the event names",
            code="output_too_large",
        )


def _checked(output: Output) -> dict[str, Any]:
    kind = TYPES.get(output.type)
    if kind is None:
        raise Permanent(f"the output {output.name} has the unknown type {output.type}", code="invalid_output")
    document = output.document()
    if not isinstance(output.metadata, kind.metadata):
        try:
            kind.metadata.model_validate(document)
        except ValidationError as error:
            raise Permanent(
                f"the output {output.name} does not fit {output.type}: {error.error_count()} fields wrong",
                code="invalid_output",
            ) from None
    return document
