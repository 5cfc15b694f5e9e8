"""Who may use the threads of a process: no user takes all of them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from actors.waiting import Waiting
from lightning.queue import Wakeup

#: A place is kept so long for who was called; another process may have answered the call, or many wait
#: in the queue before it.
CALL_SECONDS: Final = 0.5

#: Where work usually takes less than this, none is kept: it would be free longer than taken.
SLOW_SECONDS: Final = 1.0

#: A place is waited for so long before one is put aside, where nothing better is known.
PATIENCE_SECONDS: Final = 0.2

#: Where a place becomes free more often than once in this time, work is quick, however long it takes: what a
#: busy process does at a time takes long only because it is many. Whoever waited in vain is put aside at
#: once until work of theirs proves to be quick: else a backlog of one user would hold all threads, a moment
#: for each of its messages.
QUICK_SECONDS: Final = PATIENCE_SECONDS

#: Whose turn is expected within this time waits for it: to be put aside costs about what quick work does, so
#: a busy process that puts a crowd aside becomes busier still, and does little else then.
SOON_SECONDS: Final = 1.0

#: How long such a one waits at most.
LONGEST_PATIENCE_SECONDS: Final = 2 * SOON_SECONDS

#: Users of whom it is known that they waited in vain.
MAX_IN_VAIN: Final = 1000


@dataclass(eq=False, slots=True)
class _Patient:
    """Somebody who waits in a thread for a place.

    Parameters:
      message: Of the event.
      turn: Done as soon as the place is theirs.
    """

    message: Wakeup
    turn: "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A place that is kept for somebody who was called.

    Parameters:
      until: When it is no more.
      wake: The wake of the call.
    """

    until: float
    wake: int


class Places:
    """The places of one kind of work in a process. Belongs to one event loop.

    Nobody is called before somebody who holds fewer places, and who is not called takes none
    that is kept for who is. So whoever holds many gives way, one place after the other. Where work is quick,
    those who wait in a thread come first, and others are called only to what is left: a call would find its
    place taken, and put aside once more.

    Parameters:
      total: Events at a time, of everybody.
      per_user: Events of one user at a time.
      clock: Seconds that only go forward.
      randomness: Gives numbers from 0 to 1.
    """

    def __init__(
        self,
        total: int,
        per_user: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._total = total
        self._per_user = min(per_user, total)
        self._clock = clock
        self._waiting = Waiting(randomness)
        self._usual_seconds = SLOW_SECONDS  # what an event takes, learnt
        self._patient: list[_Patient] = []  # in the order in which they came
        self._in_vain: set[str] = set()  # users who waited so for a place
        self._taken: Counter[str] = Counter()  # by user: held, or kept for who was called
        self._kept: dict[tuple[str, str], _Kept] = {}  # by user and event

    async def enter(self, message: Wakeup) -> bool:
        """Take a place for the event of a message, now or when its turn comes; False when there is none."""
        if self._take(message):  # without a timer, since this is the usual case
            return True
        user_id = message.user_id
        if user_id in self._in_vain:
            return False
        is_slow = self._is_slow()
        is_soon = not is_slow and self._turn_seconds(user_id) <= SOON_SECONDS
        patient = _Patient(message, asyncio.get_running_loop().create_future())
        self._patient.append(patient)
        try:
            timeout = LONGEST_PATIENCE_SECONDS if is_soon else PATIENCE_SECONDS
            await asyncio.wait((patient.turn,), timeout=timeout)
        except asyncio.CancelledError:
            if patient.turn.done():
                self._give_back(user_id)
                self._hand_on()
            raise
        finally:
            self._patient.remove(patient)
        if patient.turn.done():
            return True
        if is_slow or is_soon:  # else it was too early, and not in vain
            if len(self._in_vain) >= MAX_IN_VAIN:
                self._in_vain.clear()  # it costs each of them a moment
            self._in_vain.add(user_id)
        return False

    def leave(self, user_id: str, seconds: float | None) -> None:
        """Give a place back.

        Parameters:
          user_id: Whose place it was.
          seconds: How long they worked in it; None when there was nothing to do, which tells nothing of work.
        """
        if seconds is not None:
            self._usual_seconds += (seconds - self._usual_seconds) / 4
            if seconds / self._per_user < QUICK_SECONDS:
                self._in_vain.discard(user_id)
        self._give_back(user_id)
        if not self._is_slow():
            self._hand_on()

    def is_void(self, message: Wakeup) -> bool:
        """Tell whether an event was put aside since a message was sent, so that only a later one counts."""
        kept = self._kept.get((message.user_id, message.event_id))
        if kept is not None:
            return message.wake < kept.wake
        return self._waiting.is_newer(message)

    def _is_slow(self) -> bool:
        """Tell whether a place that is free now is worth more than one that will be free in a moment."""
        return self._usual_seconds >= max(SLOW_SECONDS, QUICK_SECONDS * self._total)

    def _turn_seconds(self, user_id: str) -> float:
        """Give the time after which one more who waits here usually has a place."""
        turn = self._usual_seconds * (len(self._patient) + 1) / self._total
        if self._taken[user_id] < self._per_user:
            return turn
        own = sum(each.message.user_id == user_id for each in self._patient)
        return max(turn, self._usual_seconds * (own + 1) / self._per_user)

    def _take(self, message: Wakeup) -> bool:
        self._forget_late()
        user_id, event_id = message.user_id, message.event_id
        if self._is_kept_for(message):
            del self._kept[user_id, event_id]
        elif self._has_room(user_id):
            self._taken[user_id] += 1
        else:
            return False
        if not self._waiting.is_newer(message):
            self._waiting.drop(user_id, event_id)
        return True

    def _is_kept_for(self, message: Wakeup) -> bool:
        kept = self._kept.get((message.user_id, message.event_id))
        return kept is not None and message.wake >= kept.wake

    def _has_room(self, user_id: str) -> bool:
        return self._taken.total() < self._total and self._taken[user_id] < self._per_user

    def _give_back(self, user_id: str) -> None:
        self._taken -= Counter({user_id: 1})

    def _hand_on(self) -> None:
        """Give what is free to those who wait here, first to whoever holds the fewest."""
        while self._taken.total() < self._total:
            room = [
                each
                for each in self._patient
                if not each.turn.done() and self._has_room(each.message.user_id)
            ]
            if not room:
                return
            first = min(room, key=lambda each: self._taken[each.message.user_id])
            self._take(first.message)
            first.turn.set_result(None)

    def wait_seconds(self, user_id: str) -> float:
        """Give the time after which one who found no place looks again, if not called before."""
        return self._waiting.look_seconds(user_id, self._clock())

    def wait(self, message: Wakeup) -> None:
        """Remember who waits, to be called as soon as there is a place."""
        self._waiting.add(message)

    def call(self) -> list[Wakeup]:
        """Name those for whom there is a place now; where work is slow, it is kept for them a moment."""
        self._forget_late()
        is_slow = self._is_slow()
        if not is_slow:
            self._hand_on()
        until = self._clock() + CALL_SECONDS
        called: list[Wakeup] = []
        taken = self._taken.copy()
        while taken.total() < self._total:
            users = [user for user in self._waiting.users() if taken[user] < self._per_user]
            if not users:
                break
            user_id = min(users, key=taken.__getitem__)
            message = self._waiting.call(user_id)
            taken[user_id] += 1
            if (patient := self._patient_for(message)) is not None:
                self._taken[user_id] += 1
                patient.turn.set_result(None)  # it is here already
                continue
            called.append(message)
            if is_slow:
                if self._kept.pop((user_id, message.event_id), None) is None:
                    self._taken[user_id] += 1  # else it was called before, and its place is kept longer
                self._kept[user_id, message.event_id] = _Kept(until, message.wake)
        self._hand_on()
        return called

    def _patient_for(self, called: Wakeup) -> _Patient | None:
        """Find who waits here for a place for the event of a call, unless under an earlier wake."""
        for each in self._patient:
            message = each.message
            is_same = (message.user_id, message.event_id) == (called.user_id, called.event_id)
            if is_same and message.wake >= called.wake and not each.turn.done():
                return each
        return None

    def keeps_some(self) -> bool:
        """Tell whether a place is kept for somebody who was called."""
        return bool(self._kept)

    def _forget_late(self) -> None:
        """Give back the places of those who were called and did not come."""
        now = self._clock()
        for key, kept in list(self._kept.items()):
            if kept.until <= now:
                del self._kept[key]
                self._give_back(key[0])
