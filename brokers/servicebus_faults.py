"""What goes wrong between us and Service Bus: its names, its log lines, its count, and how long to wait."""

import logging
import random
from typing import Final

from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus.exceptions import ServiceBusError
from dramatiq.errors import BrokerConnectionError, BrokerError
from opentelemetry import metrics

#: The first wait after a fault is at most so long; it doubles while faults follow each other.
FIRST_BACKOFF_SECONDS: Final = 0.1

#: A service that says that it is busy is left alone so long, as Microsoft advises.
BUSY_BACKOFF_SECONDS: Final = 10.0

#: Conditions of AMQP and of Service Bus, and the word under which a fault is logged and counted.
_KINDS: Final = {
    "amqp:not-found": "queue_missing",
    "com.microsoft:server-busy": "busy",
    "com.microsoft:message-lock-lost": "lock_lost",
    "com.microsoft:timeout": "timeout",
    "com.microsoft:entity-disabled": "queue_disabled",
    "amqp:unauthorized-access": "unauthorized",
    "amqp:resource-limit-exceeded": "quota_exceeded",
    "amqp:link:message-size-exceeded": "too_large",
    "amqp:not-allowed": "not_allowed",
    "com.microsoft:argument-error": "invalid",
    "amqp:internal-error": "service_error",
    "amqp:connection:forced": "connection_forced",
    "amqp:link:detach-forced": "link_detached",
    "amqp:socket-error": "connection_lost",
}

#: Faults that waiting does not mend, so that senders hear of them at once.
HOPELESS: Final = frozenset({"queue_missing", "queue_disabled", "unauthorized"})

#: Faults after which the same is sent again as it was; any other refusal is due to what was sent.
PASSING: Final = frozenset({"busy", "timeout", "quota_exceeded"})

_ADVICE: Final = {
    "queue_missing": "create it (the infrastructure program does), or name another with SERVICEBUS_QUEUE",
    "queue_disabled": "enable it in the portal",
    "unauthorized": "check the key or the identity's role: Azure Service Bus Data Owner",
    "not_allowed": "the queue must not require sessions, and the message must not be larger than it takes",
    "quota_exceeded": "the queue is full or the namespace has too many connections",
}

_REPORTED: Final = "_is_reported"

_logger = logging.getLogger(__name__)
_count = metrics.get_meter(__name__).create_counter(
    "lightning.servicebus.faults",
    unit="{fault}",
    description="Faults of Service Bus that were recovered from",
)


class MessageTooLarge(BrokerError):
    """A message is larger than Service Bus takes."""


class QueueMissing(BrokerConnectionError):
    """A queue does not exist in the namespace."""


class LinkLost(BrokerConnectionError):
    """A link ended before it was known what became of something."""


class Unauthorized(BrokerConnectionError):
    """The key or the identity is not let in."""


class LockLost(BrokerError):
    """The lock on a message is not ours any more."""


_FAMILIES: Final = (
    (LockLost, "lock_lost"),
    (LinkLost, "connection_lost"),
    (ClientAuthenticationError, "unauthorized"),
    (TimeoutError, "timeout"),
    (OSError, "unreachable"),
    (ServiceBusError, "unreachable"),
    (BrokerError, "unreachable"),
)


def kind_of(error: BaseException) -> str:
    """Name a fault, as it is logged and counted."""
    if isinstance(error, Unauthorized):
        return "unauthorized"
    condition = getattr(error, "condition", None) or getattr(error, "_condition", None)
    if condition is None and error.__cause__ is not None:
        return kind_of(error.__cause__)
    name = condition.decode() if isinstance(condition, bytes) else str(condition)
    if name in _KINDS:
        return _KINDS[name]
    for family, kind in _FAMILIES:
        if isinstance(error, family):
            return kind
    return "error" if condition is None else "unreachable"


def is_answer(error: BaseException) -> bool:
    """Tell whether Service Bus answered a request with this, so that the link to it is sound."""
    return isinstance(error, ServiceBusError) and getattr(error, "_status_code", None) is not None


def is_refusal(error: BaseException) -> bool:
    """Tell whether Service Bus answered that it will not do what it was asked, now or later."""
    return is_answer(error) and kind_of(error) not in PASSING


def as_broker_error(error: BaseException, queue_name: str) -> BrokerError:
    """Give the error that a sender is raised, which says what to do."""
    kind = kind_of(error)
    if isinstance(error, BrokerError) and not isinstance(error, Unauthorized):
        return error
    text = f"Service Bus queue {queue_name!r}: {kind}: {_text(error)}"
    advice = f"; {_ADVICE[kind]}" if kind in _ADVICE else ""
    if kind == "queue_missing":
        return QueueMissing(f"Service Bus has no queue {queue_name!r}{advice}")
    if kind == "too_large":
        return MessageTooLarge(text)
    return BrokerConnectionError(text + advice)


class Backoff:
    """How long to wait before the next attempt: not at all at first, then doubling, with full jitter.

    Parameters:
      most_seconds: The longest wait.
    """

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures so far."""
        self._failures = 0

    def after(self, error: BaseException) -> float:
        """Note a failure, and give the seconds to wait after it."""
        self._failures += 1
        floor = min(BUSY_BACKOFF_SECONDS, self._most_seconds) if kind_of(error) == "busy" else 0.0
        if self._failures == 1:
            return floor
        ceiling = min(self._most_seconds, FIRST_BACKOFF_SECONDS * 2 ** min(self._failures - 1, 20))
        return max(floor, random.uniform(0.0, ceiling))  # noqa: S311 -- spreads reconnects, hides nothing


def silence(error: BaseException) -> None:
    """Have a fault not logged and counted again, since it was, or since another of the same outage was."""
    error.__dict__[_REPORTED] = True


def report(error: BaseException, queue_name: str, doing: str) -> None:
    """Log and count a fault that is going to be recovered from; once, however many wait for the same.

    Parameters:
      error: What was raised.
      queue_name: The queue.
      doing: What was under way: ``receive``, ``send``, ``settle``, ``renew``, ``join``,
        ``authorize``.
    """
    if _REPORTED in error.__dict__:
        return
    silence(error)
    kind = kind_of(error)
    _count.add(1, {"queue": queue_name, "fault": kind, "operation": doing})
    advice = f"; {_ADVICE[kind]}" if kind in _ADVICE else ""
    unexpected = error if kind == "error" else None
    _logger.warning(
        "Service Bus queue %s, %s: %s: %s%s",
        queue_name,
        doing,
        kind,
        _text(error),
        advice,
        exc_info=unexpected,
    )


def _text(error: BaseException) -> str:
    description = getattr(error, "description", None)
    if isinstance(description, bytes):
        return description.decode(errors="replace")
    return str(description or error or type(error).__name__).partition("\n")[0][:500]
