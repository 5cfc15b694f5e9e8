"""What the broker gave up: its dead letters become dead events, where people see them."""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import structlog
from dramatiq import Message
from dramatiq.errors import BrokerError, DecodeError

from actors.step import Step
from brokers import DeadLetters, read_wakeup
from lightning.errors import InvalidEvent, Permanent, Transient

LETTERS_PER_ROUND = 100

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class Graveyard:
    """Drains the dead letters of the broker into the log.

    Parameters:
      broker: Where they are.
      step: Declares their events dead.
    """

    def __init__(self, broker: DeadLetters, step: Step) -> None:
        self._broker = broker
        self._step = step
        self._unreadable: set[str] = set()

    async def round(self) -> None:
        """Look once. What is not a message of ours stays with the broker and is reported once.

        Raises:
          Transient: The store or the queue does not answer.
        """
        # those that stay with the broker must not hide the ones behind them
        for letter in await _asked(
            self._broker.dead_letters, None, LETTERS_PER_ROUND + len(self._unreadable)
        ):
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
            await _asked(self._broker.discard_dead_letter, letter.id)


async def _asked(ask: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Ask the broker from a thread, as it may have to ask a service."""
    try:
        return await asyncio.to_thread(ask, *arguments, **options)
    except BrokerError as error:
        raise Transient(f"the queue is not available ({error})", code="queue_unavailable") from error
