"""The queue, as the log sees it: it only says which event to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: Replicas of a store are behind by moments, so a token is of no use for longer; and where the store was
#: restored elsewhere from a backup, an old one names what is not there.
SESSION_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wakeup:
    """A message that asks for one event to be looked at.

    Parameters:
      user_id: The partition of the event.
      event_id: The event.
      wake: The value of the event's counter that this message answers; an older one is void.
      actor: Who is to look.
      sent_at: When it was first sent, seconds since 1970.
      delay_seconds: Not before so many seconds have passed.
      trace: The W3C trace context that the message belongs to.
      session: The store's token for reading the event as the sender knew it; None where none is needed.
      bulk: Its user has many others under way: it goes on the queue for such.
    """

    user_id: str
    event_id: str
    wake: int
    actor: str
    sent_at: float
    delay_seconds: float = 0.0
    trace: dict[str, str] = field(default_factory=dict[str, str])
    session: str | None = None
    bulk: bool = False

    def fresh_session(self, now: float) -> str | None:
        """Give the token of the store, as long as it may be of use; ``now`` is in seconds since 1970."""
        return self.session if now - self.sent_at < SESSION_SECONDS else None


class Queue(Protocol):
    """Sends wake-ups to workers. It may lose them all: the log sends them again."""

    async def send(self, wakeups: Sequence[Wakeup]) -> None:
        """Hand messages over, in one go where the queue can.

        Raises:
          Transient: The queue does not take them now.
        """
        ...

    async def oldest_age_seconds(self, actor: str | None = None, *, bulk: bool = False) -> float | None:
        """Tell how long the oldest message has been waiting for a worker; None when none waits.

        A message that a worker holds does not wait, however long the work takes, where the queue can tell;
        the answer may be some seconds old.

        Parameters:
          actor: Whose messages; everybody's by default.
          bulk: Those on the actor's queue for bulk.

        Raises:
          Transient: The queue does not answer now.
        """
        ...

    async def depth(self) -> int:
        """Count the messages of all actors that wait, are put off or are worked on.

        Raises:
          Transient: The queue does not answer now.
        """
        ...

    async def check(self) -> None:
        """See that the queue answers, at little cost.

        Raises:
          Transient: The queue does not answer now.
        """
        ...

    async def close(self) -> None:
        """Send what was handed over and let go."""
        ...
