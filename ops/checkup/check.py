"""What is looked at, each part within its time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["ok", "failed", "skipped"]

#: For a part to put away what it made, once its time is over.
CLEANING_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Parameters:
      name: What it is.
      verdict: ``ok``, ``failed``, or ``skipped``: it could not be looked at, or is not used here.
      detail: What was found.
      remedy: What to do: a command, a role or a setting; empty where nothing is wrong.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Checks that belong together.

    Parameters:
      name: What they are called where they do not come to an end.
      look: Looks.
      seconds: The longest that it may take.
      remedy: What to do when it takes longer.
    """

    name: str
    look: Callable[[], AsyncIterator[Check]]
    seconds: float
    remedy: str


async def carry_out(parts: Sequence[Part]) -> AsyncIterator[Check]:
    """Look at all parts at once, and tell what was found in their order.

    Parameters:
      parts: What to look at.
    """
    running = [asyncio.create_task(_carried_out(part)) for part in parts]
    try:
        for task in running:
            for check in await task:
                yield check
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CLEANING_SECONDS)


async def _carried_out(part: Part) -> list[Check]:
    found: list[Check] = []
    looking = asyncio.create_task(_collect(part, found))
    try:
        await asyncio.wait([looking], timeout=part.seconds)
        if not looking.done():
            looking.cancel()
            await asyncio.wait([looking], timeout=CLEANING_SECONDS)
            found.append(Check(part.name, "failed", f"no answer within {part.seconds:g} s", part.remedy))
    finally:
        looking.cancel()
    return found


async def _collect(part: Part, found: list[Check]) -> None:
    try:
        async for check in part.look():
            found.append(check)  # noqa: PERF401 -- what was found before it stalls is kept
    except Exception as error:  # noqa: BLE001 -- whatever an SDK raises is something that is wrong
        words = str(error).partition("\n")[0][:500] or type(error).__name__
        found.append(Check(part.name, "failed", words, part.remedy))
