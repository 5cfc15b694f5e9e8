"""Every error that Lightning raises on purpose.

    LightningError
    ├── InvalidEvent    422  the event is not one that can be recorded
    ├── InvalidRequest  400  the request is not readable
    ├── Unauthorized    401  who is it?
    ├── Forbidden       403  not theirs to do
    ├── NotFound        404  not there, or not theirs
    ├── Conflict        409  another fact stands under this name
    │   └── PreconditionFailed   someone else changed the document first
    ├── Transient       503  try again later
    │   ├── StoreMisconfigured   nobody but an operator can mend it
    │   └── StoreTooNew          a newer program wrote what is stored
    └── Permanent       422  trying again cannot help

Each class and each raise site may name a ``code``. It is the one word for the
case everywhere: the ``type`` of an RFC 9457 problem, the span attribute
``lightning.error_code`` and the reason of a dead event.
"""

from collections.abc import Iterable


def json_pointer(parts: Iterable[object]) -> str:
    """Write a path into a JSON value as a pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class LightningError(Exception):
    """Base class of all errors that Lightning raises on purpose.

    Parameters:
      message: What happened and what to do about it, for a person.
      code: A stable word for the case; the class has a default.
      pointer: JSON pointer (RFC 6901) to the offending field, if there is one.
    """

    code = "internal"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, pointer: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        if code is not None:
            self.code = code


class InvalidRequest(LightningError):
    """The request cannot be read."""

    code = "invalid_request"
    status = 400


class InvalidEvent(LightningError):
    """The event is readable, but not one that can be recorded."""

    code = "invalid_event"
    status = 422


class Unauthorized(LightningError):
    """The caller has not shown who they are."""

    code = "unauthorized"
    status = 401


class Forbidden(LightningError):
    """The caller may not do this."""

    code = "forbidden"
    status = 403


class NotFound(LightningError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"
    status = 404


class Conflict(LightningError):
    """Another fact already stands under this name."""

    code = "conflict"
    status = 409


class PreconditionFailed(Conflict):
    """The document was changed by somebody else since it was read."""

    code = "precondition_failed"


class Transient(LightningError):
    """It did not work this time; the same attempt may work later.

    Parameters:
      message: What happened.
      retry_after: Seconds to wait before the next attempt, when the other side named it.
      code: A stable word for the case.
    """

    code = "transient"
    status = 503

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class StoreMisconfigured(Transient):
    """The store does not let us in, or lacks a container: workers wait until an operator mends it.

    An operator's own command is not to wait, but to say so at once.
    """

    code = "store_unavailable"


class StoreTooNew(Transient):
    """A newer program wrote what is stored: this one must not touch it, and the newer one goes on with it."""

    code = "store_too_new"


class Permanent(LightningError):
    """It did not work, and trying again cannot help."""

    code = "permanent"
    status = 422
