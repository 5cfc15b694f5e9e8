"""What an entity refuses, by the names that Service Bus has for it."""


class EntityError(Exception):
    """An operation on an entity failed.

    Parameters:
      condition: The AMQP error condition.
      description: What a person reads.
      status: The HTTP-like status in a management response.
    """

    def __init__(self, condition: str, description: str, status: int) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description
        self.status = status


def lock_lost() -> EntityError:
    """The lock has expired, or the message is settled."""
    return EntityError(
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has already been removed "
        "from the queue.",
        410,
    )


def message_not_found(sequence: int) -> EntityError:
    """No message in the wanted state has the sequence number."""
    return EntityError(
        "com.microsoft:message-not-found",
        f"There is no such message with the sequence number {sequence}.",
        404,
    )


def entity_not_found(name: str) -> EntityError:
    """No entity has the name."""
    return EntityError("amqp:not-found", f"The messaging entity '{name}' could not be found.", 404)


def not_emulated(what: str) -> EntityError:
    """Service Bus can do it, this emulator cannot."""
    return EntityError("amqp:not-implemented", f"This emulator does not emulate {what}.", 501)


def bad_argument(description: str) -> EntityError:
    """A request is malformed."""
    return EntityError("com.microsoft:argument-error", description, 400)
