"""What a handler may answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from lightning.storage import Operation


@dataclass(frozen=True, slots=True)
class Output:
    """An event that follows from the one that was handled.

    Parameters:
      name: Its name among the outputs of its cause; with the cause's id it makes its id.
      type: Its event type.
      metadata: What it says.
      source: Who speaks.
    """

    name: str
    type: str
    metadata: BaseModel | Mapping[str, Any]
    source: str

    def document(self) -> dict[str, Any]:
        """Give the metadata in the form of JSON."""
        if isinstance(self.metadata, BaseModel):
            return self.metadata.model_dump(mode="json", exclude_none=True)
        return dict(self.metadata)


@dataclass(frozen=True, slots=True)
class Done:
    """The event is finished; these events follow, and these documents are written with it."""

    outputs: Sequence[Output] = ()
    writes: Sequence[Operation] = field(default=())


@dataclass(frozen=True, slots=True)
class Again:
    """The event is not finished; look at it again after so many seconds. Nothing is held meanwhile."""

    after_seconds: float


Outcome = Done | Again
