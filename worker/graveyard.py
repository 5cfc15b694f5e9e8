"""What the broker gave up: its dead letters become dead events, where people see them."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import structlog
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors.step import Step
from brokers import read_wakeup
from lightning.errors import InvalidEvent, Permanent, Transient

LETTERS_PER_ROUND = 100

_log = structlog.get_logger(__name__)


class DeadLetter(Protocol):
    """A message that the broker will not deliver any more."""

    @property
    def id(self) -> Any:
        """Its name at the broker."""
        ...

    @property
    def body(self) -> bytes:
        """The message, as it was sent."""
        ...

    @property
    def reason(self) -> str:
        """Why it was given up."""
        ...


class DeadLetters(Protocol):
    """The part of a broker that keeps what it gave up."""

    def dead_letters(self, queue_name: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """List dead letters."""
        ...

    def discard_dead_letter(self, dead_letter_id: Any, /) -> Any:
        """Forget one."""
        ...


class Graveyard:
    """Drains the dead letters of the broker into the log.

    Parameters:
      broker: Where they are.
      step: Declares their events dead.
    """

    def __init__(self, broker: DeadLetters, step: Step) -> None:
        self._broker = broker
        self._step = step
        self._unreadable: set[Any] = set()

    async def round(self) -> None:
        """Look once. What is not a message of ours stays with the broker and is reported once.

        Raises:
          Transient: The store does not answer.
        """
        # those that stay with the broker must not hide the ones behind them
        for letter in self._broker.dead_letters(limit=LETTERS_PER_ROUND + len(self._unreadable)):
            if letter.id in self._unreadable:
                continue
            try:
                message = cast("Message[Any]", Message.decode(letter.body))  # pyright: ignore[reportUnknownMemberType]
                wakeup = read_wakeup(message.actor_name, message.kwargs)
            except (DecodeError, InvalidEvent, KeyError, TypeError):
                self._unreadable.add(letter.id)
                _log.error("dead_letter_unreadable", id=letter.id, reason=letter.reason)
                continue
            try:
                await self._step.bury(
                    wakeup, Permanent(f"the queue gave up: {letter.reason}", code="dead_letter")
                )
            except Transient as error:
                if error.code == "store_unavailable":
                    raise
                continue  # somebody works on it; the next round looks again
            self._broker.discard_dead_letter(letter.id)
