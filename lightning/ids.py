"""Identifiers: new ones in time order, and ones that follow from what they are for.

Each kind of derived id has a namespace of its own, so that no client can choose a
key whose id meets an id that the platform derives. Parts are joined with a length
prefix: two different pairs of parts never make the same name.
"""

from typing import Final

import uuid_utils

#: Ids of the outputs of an event.
_DERIVED: Final = uuid_utils.UUID("8f0b7a36-5e1c-4f0e-9d51-2b1f6e0c7a11")

#: Ids that follow from a key which a client chose.
_KEYED: Final = uuid_utils.UUID("c1d2a4be-93f7-4b62-8a0d-6f4e5b7c8d22")

#: Ids of accounts, which follow from the name.
_ACCOUNT: Final = uuid_utils.UUID("4be7d0c9-1a6f-4c35-b2e8-90a3d4f5e633")

#: Ids of the documents of conversations, which follow from the name that a client chose.
_CONVERSATION: Final = uuid_utils.UUID("2d9c64f1-7b0e-4a58-8c3d-e15f70b2a944")

#: Ids of the runs of tasks.
_RUN: Final = uuid_utils.UUID("6a1f0e83-c25d-4b97-9e4f-37d8b0a6c155")

#: Ids of the ledgers of root events.
_BUDGET: Final = uuid_utils.UUID("e07c5b12-94ad-4f3e-8b61-5d2a7f9c3066")

#: Ids of the ticks of schedules.
_TICK: Final = uuid_utils.UUID("b83e5d07-2f41-4c6a-9d18-0c7e6a4f1b77")

#: Ids of the replies of models that call tools.
_TURN: Final = uuid_utils.UUID("5c21f7d4-08ab-4e6f-b3d9-6e4f1a7c8d20")

#: Ids of the notes of what waits for an event.
_WAITING: Final = uuid_utils.UUID("f49a0c36-7d15-4b82-a6ee-1b90d2c5e873")

#: Ids of approvals.
_APPROVAL: Final = uuid_utils.UUID("0b7e6d95-3c48-4f21-9a07-c8f15e2d4b6a")


def new_id() -> str:
    """Make an id that nothing else has: a UUIDv7 (RFC 9562).

    It sorts roughly by time, which keeps indexes compact; nothing may rely on that order.
    """
    return str(uuid_utils.uuid7())


def derived_id(cause_id: str, name: str) -> str:
    """Give the id of one output of an event, the same whenever the event is worked on again.

    Parameters:
      cause_id: Id of the event that brings the output about.
      name: Name of the output among those of its cause.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_DERIVED, _join(cause_id, name)))


def keyed_id(user_id: str, key: str) -> str:
    """Give the id under which a user's idempotency key, or client-given id, is recorded.

    Parameters:
      user_id: The tenant; the same key of another tenant has another id.
      key: What the client chose, as it came.

    Returns:
      A UUIDv5 (RFC 9562) as text, never equal to a derived id.
    """
    return str(uuid_utils.uuid5(_KEYED, _join(user_id, key)))


def account_id(username: str) -> str:
    """Give the id of the account of that name: the tenant's ``userID``.

    Parameters:
      username: The name in its normal form, see ``lightning.domain.accounts``.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_ACCOUNT, username))


def conversation_document_id(conversation_id: str) -> str:
    """Give the id of the document of a conversation within its user's partition.

    Parameters:
      conversation_id: What the client calls it: any text, which no store need take as an id.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_CONVERSATION, conversation_id))


def run_id(event_id: str) -> str:
    """Give the id of the run of a task, the same whenever the task is worked on again.

    Parameters:
      event_id: Id of the `worker.task`.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_RUN, event_id))


def tick_id(schedule_id: str, slot: str) -> str:
    """Give the id of the tick of a slot of a schedule, whoever finds that it is due, and however often.

    Parameters:
      schedule_id: The schedule.
      slot: What tells the slot from all others of the schedule.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_TICK, _join(schedule_id, slot)))


def budget_id(root: str) -> str:
    """Give the id of the ledger that a root event and all that follows from it spend from.

    Parameters:
      root: Id of the root event.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_BUDGET, root))


def turn_id(event_id: str, number: int) -> str:
    """Give the id of one reply of a model in the turn that an event began.

    Parameters:
      event_id: The `llm.chat`.
      number: Which reply, from 0.

    Returns:
      A UUIDv5 (RFC 9562) as text.
    """
    return str(uuid_utils.uuid5(_TURN, _join(event_id, str(number))))


def waiting_id(event_id: str) -> str:
    """Give the id of the note of who waits for the answer to an event, a UUIDv5 (RFC 9562) as text."""
    return str(uuid_utils.uuid5(_WAITING, event_id))


def approval_id(event_id: str) -> str:
    """Give the id of the approval that an `approval.requested` asks for, a UUIDv5 (RFC 9562) as text."""
    return str(uuid_utils.uuid5(_APPROVAL, event_id))


def _join(first: str, second: str) -> str:
    return f"{len(first)}:{first}{second}"
