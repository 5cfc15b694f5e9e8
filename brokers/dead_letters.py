"""What a broker gave up, whichever broker it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up.

    Attributes:
      id: Names it for `DeadLetters.replay_dead_letter` and `DeadLetters.discard_dead_letter`.
      queue_name: Where it was.
      body: The message as it was encoded.
      reason: ``rejected``, ``delivery_count_exceeded``, ``undecodable``, or what another program said.
      error: What went wrong: a traceback where there is one.
      deliveries: How often it was delivered since it was sent or retried.
      died_at: When it was given up, in UTC; where the broker does not tell, when it was sent.
    """

    id: str
    queue_name: str
    body: bytes
    reason: str
    error: str
    deliveries: int
    died_at: datetime


class DeadLetters(Protocol):
    """The part of a broker that keeps what it gave up.

    Attributes:
      dead_letters_every_seconds: Who waits for dead letters is to look no more often.
    """

    @property
    def dead_letters_every_seconds(self) -> float: ...  # noqa: D102 -- see above

    def dead_letters(self, queue_name: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """List the oldest dead letters of one queue, or of all."""
        ...

    def replay_dead_letter(self, dead_letter_id: str) -> bool:
        """Put one back on its queue, with all its retries before it; False when there is none."""
        ...

    def discard_dead_letter(self, dead_letter_id: str) -> bool:
        """Remove one; False when there is none."""
        ...
