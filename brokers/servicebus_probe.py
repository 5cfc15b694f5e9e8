"""Whether each queue lets us send and receive; nothing is sent, and nothing is taken."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dramatiq.errors import BrokerError

from brokers.servicebus_faults import as_broker_error, kind_of
from brokers.servicebus_namespace import Namespace, Told

Doing = Literal["send", "receive"]

#: Faults of one queue; after any other the next queue would fail alike.
_OF_ONE_QUEUE = frozenset({"queue_missing", "queue_disabled", "unauthorized", "not_allowed"})


@dataclass(frozen=True, slots=True)
class Probe:
    """What was tried on a queue.

    Parameters:
      queue: The queue.
      doing: What was tried.
      error: Why it did not go; None: it did.
      kind: The word for the error; empty: there is none.
    """

    queue: str
    doing: Doing
    error: BrokerError | None = None
    kind: str = ""


async def probe(told: Told, queue_names: Sequence[str]) -> AsyncIterator[Probe]:
    """Try each queue; after a fault that all would have, no other is tried.

    To send is tried by attaching a sender, which takes the right to send; to receive, by looking at the first
    message, which takes the right to receive and holds nothing.

    Parameters:
      told: Where the namespace is, and who asks.
      queue_names: The queues.
    """
    namespace = Namespace(told.connection_string, told.namespace, credential=told.credential)
    tries: tuple[Doing, Doing] = ("send", "receive")
    for name in queue_names:
        for doing in tries:
            try:
                await _try(namespace, name, doing)
            except Exception as error:  # noqa: BLE001 -- the SDK raises what it likes; it is told
                kind = kind_of(error)
                yield Probe(name, doing, as_broker_error(error, name), kind)
                if kind not in _OF_ONE_QUEUE:
                    return
            else:
                yield Probe(name, doing)


async def _try(namespace: Namespace, name: str, doing: Doing) -> None:
    if doing == "send":
        sender = namespace.sender(name)
        await sender.open()
        await sender.close()
        return
    link = namespace.management(name)
    try:
        await link.open()
        await link.peek(1, 1)
    finally:
        await link.close()
