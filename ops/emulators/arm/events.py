"""The events of a container, as its instance view lists them.

Source: "Retrieve container logs and events in Azure Container Instances": like ones are counted.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal


def moment(seconds: float) -> str:
    """Write a time since 1970 as the service does (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Event:
    """Something that happened, once or more often.

    Parameters:
      name: The service's word for it.
      message: For a person.
      kind: ``Normal`` or ``Warning``.
      first: When it first happened, in seconds since 1970.
      last: When it last happened.
      count: How often.
    """

    name: str
    message: str
    kind: Literal["Normal", "Warning"]
    first: float
    last: float
    count: int = 1

    def as_json(self) -> dict[str, Any]:
        """Give it in the service's words."""
        return {
            "count": self.count,
            "firstTimestamp": moment(self.first),
            "lastTimestamp": moment(self.last),
            "name": self.name,
            "message": self.message,
            "type": self.kind,
        }


@dataclass
class Events:
    """All events of one container, in the order of their first time."""

    _events: list[Event] = field(default_factory=list[Event])

    def add(
        self,
        name: str,
        message: str,
        at: float,
        kind: Literal["Normal", "Warning"] = "Normal",
        count: int = 1,
    ) -> None:
        """Note that something happened."""
        for event in self._events:
            if (event.name, event.message) == (name, message):
                event.count += count
                event.last = at
                return
        self._events.append(Event(name, message, kind, at, at, count))

    def as_json(self) -> list[dict[str, Any]]:
        """Give them in the service's words."""
        return [event.as_json() for event in self._events]
