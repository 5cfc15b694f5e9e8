"""An event as it is posted, and what is wrong with one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lightning.errors import Forbidden, InvalidEvent, json_pointer
from lightning.events.metadata import Name
from lightning.events.moments import read_moment
from lightning.events.types import TYPES
from lightning.groups import GroupMetadata
from lightning.metadata import Metadata
from lightning.tasks import FollowUp, TaskMetadata

#: A client's clock may run this far ahead of ours before its event counts as one of the future.
CLOCK_SKEW: Final = timedelta(seconds=5)


class Envelope(BaseModel):
    """An event as it is posted (specification, "Event Management")."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[
        Name | None, Field(description="A key of your own: the same event under it again is no new one.")
    ] = None
    timestamp: Annotated[datetime, BeforeValidator(read_moment)]
    source: Name
    type: Name
    userID: Name  # noqa: N815 -- the wire's name
    metadata: dict[str, Any] = Field(default_factory=dict)


def read_envelope(raw: object, *, now: datetime | None = None) -> Envelope:
    """Check what was posted, envelope and metadata.

    Parameters:
      raw: The JSON value.
      now: The present moment, for events of the future; the clock's by default.

    Returns:
      The envelope, its metadata in normal form.

    Raises:
      InvalidEvent: With a JSON pointer to the first field that is wrong.
      Forbidden: Only the platform posts events of this type.
    """
    try:
        envelope = Envelope.model_validate(raw)
    except ValidationError as error:
        raise _invalid(error, "") from None
    if envelope.timestamp > (now or datetime.now(UTC)) + CLOCK_SKEW:
        raise InvalidEvent(
            "the timestamp is in the future; POST /api/schedule takes events for later",
            code="timestamp_in_future",
            pointer="/timestamp",
        )
    envelope.metadata = _read_metadata(envelope.type, envelope.metadata, "")
    return envelope


def _read_metadata(name: str, raw: dict[str, Any], where: str) -> dict[str, Any]:
    """Check the metadata of a type that users may post, with all that may follow from it.

    Parameters:
      name: The type.
      raw: The metadata.
      where: JSON pointer to what holds both.

    Returns:
      The metadata in normal form.
    """
    kind = TYPES.get(name)
    if kind is None:
        known = ", ".join(name for name, each in TYPES.items() if each.posted_by_users)
        raise InvalidEvent(f"unknown type; known are {known}", code="unknown_type", pointer=f"{where}/type")
    if not kind.posted_by_users:
        message = f"events of type {name} come from the platform only"
        raise Forbidden(message, code="platform_event", pointer=f"{where}/type")
    try:
        metadata = kind.metadata.model_validate(raw)
    except ValidationError as error:
        raise _invalid(error, f"{where}/metadata") from None
    return normal_form(metadata, f"{where}/metadata")


def normal_form(metadata: Metadata, where: str) -> dict[str, Any]:
    """Check what may follow from an event, and give its metadata as it is recorded.

    Parameters:
      metadata: The metadata.
      where: JSON pointer to it.

    Raises:
      InvalidEvent: With a pointer to the first field that is wrong.
      Forbidden: Something is to follow that comes from the platform only.
    """
    if isinstance(metadata, TaskMetadata):
        _read_what_follows(metadata, where)
    elif isinstance(metadata, GroupMetadata):
        _read_follow_ups(metadata, where)
        for place, task in enumerate(metadata.tasks):
            _read_what_follows(task, f"{where}/tasks/{place}")
    return metadata.model_dump(mode="json", exclude_none=True)


def _read_what_follows(task: TaskMetadata, where: str) -> None:
    """Check what may follow from a task; the bounds of a posted event's depth and size hold for all of it."""
    _read_follow_ups(task, where)
    if task.rollback is not None:
        if task.rollback.get("rollback") is not None:
            raise InvalidEvent(
                "a rollback has no rollback", code="invalid_field", pointer=f"{where}/rollback/rollback"
            )
        try:
            rollback = TaskMetadata.model_validate(task.rollback)
        except ValidationError as error:
            raise _invalid(error, f"{where}/rollback") from None
        _read_what_follows(rollback, f"{where}/rollback")
        task.rollback = rollback.model_dump(mode="json", exclude_none=True)


def _read_follow_ups(of: TaskMetadata | GroupMetadata, where: str) -> None:
    for name, follow_ups in (("onSuccess", of.onSuccess), ("onFailure", of.onFailure)):
        for number, each in enumerate(follow_ups):
            each.metadata = _read_follow_up(each, f"{where}/{name}/{number}")


def _read_follow_up(follow_up: FollowUp, where: str) -> dict[str, Any]:
    metadata = _read_metadata(follow_up.type, follow_up.metadata, where)
    if metadata.get("whenBusy", "enqueue") != "enqueue":
        message = "what follows from a task waits for its turn in a conversation; leave whenBusy out"
        raise InvalidEvent(message, code="invalid_field", pointer=f"{where}/metadata/whenBusy")
    return metadata


def _invalid(error: ValidationError, prefix: str) -> InvalidEvent:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    pointer = prefix + json_pointer(first["loc"])
    return InvalidEvent(first["msg"].removeprefix("Value error, "), code="invalid_field", pointer=pointer)
