"""What a root event and all that follows from it may spend, and have spent: the sums, without a store.

A ledger has an account for the whole, and one for each event that was given less for itself. Every expense
is of one event, and counts on the whole and on that event's own account.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lightning.errors import Permanent, Transient

#: Under this name stands the account for the whole, which no event's id can be.
WHOLE: Final = "*"


class BudgetExhausted(Permanent):
    """The budget is spent; nothing more is done on it."""

    code = "budget_exhausted"
    status = 402


class BudgetReserved(Transient):
    """What is left of the budget is held by calls under way, which may give some of it back."""

    code = "budget_reserved"
    status = 429


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent; None is no limit.

    Parameters:
      tokens: Of language models, questions and answers together.
      container_seconds: That containers run, added up.
      wall_seconds: From the recording of the event that was given the budget.
    """

    tokens: int | None = None
    container_seconds: float | None = None
    wall_seconds: float | None = None

    def within(self, other: "Limits") -> "Limits":
        """Give the lower limit of each kind."""
        return Limits(
            _lower(self.tokens, other.tokens),
            _lower(self.container_seconds, other.container_seconds),
            _lower(self.wall_seconds, other.wall_seconds),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    Parameters:
      limits: What may be spent on it.
      since: When its wall time began, in seconds since 1970.
      tokens: Spent; what is reserved is not among them.
    """

    limits: Limits
    since: float
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Tokens that are reserved for a call, until it says what it cost or is past its time."""

    event: str
    tokens: int
    until: float


@dataclass(frozen=True, slots=True)
class Container:
    """The seconds that one start of a container has run."""

    event: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What an event's container has asked of one model, added up.

    Parameters:
      calls: How often.
      given: Tokens that the model was given.
      written: Tokens that it wrote.
    """

    calls: int = 0
    given: int = 0
    written: int = 0

    def more(self, given: int, written: int) -> "Asked":
        """Give it with one call more."""
        return Asked(self.calls + 1, self.given + given, self.written + written)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as it stands.

    Parameters:
      owner: The event that was the first to bring a budget; None while nobody did.
      accounts: By event; the one of `WHOLE` is always there.
      holds: By the name of the call.
      containers: By the name of the start.
      within: By event, the one that it follows from, where that or one before it has an account of its own.
      models: By event and model, what was asked of it.
    """

    accounts: dict[str, Account]
    owner: str | None = None
    holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    containers: dict[str, Container] = field(default_factory=dict[str, Container])
    within: dict[str, str] = field(default_factory=dict[str, str])
    models: dict[str, dict[str, Asked]] = field(default_factory=dict[str, dict[str, Asked]])

    def below(self, event: str, cause: str | None) -> "Ledger":
        """Let what an event spends count on the accounts of those that it follows from, too."""
        limited = cause is not None and (cause in self.accounts or cause in self.within)
        if cause is None or not limited or event in self.within:
            return self
        return replace(self, within={**self.within, event: cause})

    def opened(self, event: str, since: float, asked: Limits, ceilings: Limits) -> "Ledger":
        """Take in the budget that an event brings: the first one is that of the whole, a later one its own.

        Parameters:
          event: The event.
          since: When it was recorded.
          asked: Its budget.
          ceilings: What no budget may exceed.
        """
        if self.owner is None:
            whole = self.accounts[WHOLE]
            began = since if asked.wall_seconds is not None else whole.since
            mine = replace(whole, limits=asked.within(ceilings), since=began)
            return replace(self, owner=event, accounts={**self.accounts, WHOLE: mine})
        if event == self.owner or event in self.accounts:
            return self
        return replace(self, accounts={**self.accounts, event: Account(asked, since)})

    def due(self, now: float) -> "Ledger":
        """Count what was reserved and is past its time as spent, in full.

        Whoever reserved it died before it could say. The model may have answered and is paid then: given
        back, a run that dies in the midst of each call would spend without end.
        """
        late = [name for name, hold in self.holds.items() if hold.until <= now]
        ledger = self
        for name in late:
            ledger = ledger.settled(name, ledger.holds[name].tokens)
        return ledger

    def reserved(self, name: str, hold: Hold) -> "Ledger":
        """Reserve tokens; whether they are there was asked before."""
        return replace(self, holds={**self.holds, name: hold})

    def settled(self, name: str, tokens: int) -> "Ledger":
        """Put what a call cost in the place of what it held; one that holds nothing was counted already."""
        hold = self.holds.get(name)
        if hold is None:
            return self
        holds = {each: held for each, held in self.holds.items() if each != name}
        charged = {of: replace(a, tokens=a.tokens + tokens) for of, a in self._of(hold.event)}
        return replace(self, accounts={**self.accounts, **charged}, holds=holds)

    def asked(self, event: str, model: str, given: int, written: int) -> "Ledger":
        """Note a call of a model, whatever was reserved for it: what it took is what it took."""
        of_event = self.models.get(event, {})
        noted = of_event.get(model, Asked()).more(given, written)
        return replace(self, models={**self.models, event: {**of_event, model: noted}})

    def ran(self, name: str, container: Container) -> "Ledger":
        """Note for how long a container has run by now; less than what is noted changes nothing."""
        known = self.containers.get(name)
        if known is not None and known.seconds >= container.seconds:
            return self
        return replace(self, containers={**self.containers, name: container})

    def grant(self, event: str, least: int, most: int, now: float) -> int:
        """Tell how many tokens an event may reserve.

        Parameters:
          event: The event.
          least: Fewer are of no use.
          most: More are not needed.
          now: The present moment.

        Raises:
          BudgetExhausted: There are not as many any more, or another limit is reached.
          BudgetReserved: There may be as many when calls under way have ended.
        """
        self.check_time(event, now)
        granted = most
        for of, account in self._of(event):
            limit = account.limits.tokens
            if limit is None:
                continue
            left = limit - account.tokens
            if left < least:
                raise BudgetExhausted(
                    f"The budget{_whose(of, event)} is spent: {account.tokens} of {limit} tokens are used,"
                    f" and this call needs at least {least}. {_ADVICE}"
                )
            free = left - self.held(of)
            if free < least:
                raise BudgetReserved(
                    f"Calls under way have reserved what is left of the budget{_whose(of, event)}, {left} of"
                    f" {limit} tokens; wait until one of them has ended.",
                    retry_after=2.0,
                )
            granted = min(granted, free)
        return granted

    def check_time(self, event: str, now: float) -> None:
        """Check that neither the containers' seconds nor the wall time of an event is used up.

        Raises:
          BudgetExhausted: One is.
        """
        for of, account in self._of(event):
            seconds, limit = self.container_seconds(of), account.limits.container_seconds
            if limit is not None and seconds >= limit:
                raise BudgetExhausted(
                    f"The budget{_whose(of, event)} is spent: containers ran {seconds:.0f} of {limit:g}"
                    f" seconds. {_ADVICE}"
                )
            limit = account.limits.wall_seconds
            if limit is not None and now - account.since >= limit:
                raise BudgetExhausted(
                    f"The budget{_whose(of, event)} is spent: its {limit:g} seconds of wall time are over."
                    f" {_ADVICE}"
                )

    def seconds_left(self, event: str, now: float) -> float | None:
        """Tell when an event's next limit of time is reached if one container runs; None is never."""
        left: list[float] = []
        for of, account in self._of(event):
            if account.limits.container_seconds is not None:
                left.append(account.limits.container_seconds - self.container_seconds(of))
            if account.limits.wall_seconds is not None:
                left.append(account.since + account.limits.wall_seconds - now)
        return min(left, default=None)

    def held(self, of: str) -> int:
        """Add up the tokens that are reserved on an account."""
        return sum(hold.tokens for hold in self.holds.values() if self._counts(hold.event, of))

    def container_seconds(self, of: str) -> float:
        """Add up the seconds that containers ran on an account."""
        return sum(each.seconds for each in self.containers.values() if self._counts(each.event, of))

    def _of(self, event: str) -> Iterator[tuple[str, Account]]:
        """Give the accounts on which an event's expenses count."""
        yield WHOLE, self.accounts[WHOLE]
        for each in self._line(event):
            if each in self.accounts:
                yield each, self.accounts[each]

    def _line(self, event: str) -> Iterator[str]:
        """Give an event, and those that it follows from as far as it is known to matter."""
        at: str | None = event
        while at is not None:
            yield at
            at = self.within.get(at)

    def _counts(self, event: str, of: str) -> bool:
        return of == WHOLE or of in self._line(event)


_ADVICE: Final = "Start the task again with a larger budget, or give it less to do."


def _whose(of: str, event: str) -> str:
    if of == WHOLE:
        return ""
    return " of this task alone" if of == event else " of what this task is a part of"


def _lower(one: Any, other: Any) -> Any:
    return min((each for each in (one, other) if each is not None), default=None)
