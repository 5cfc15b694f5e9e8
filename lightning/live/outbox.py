"""What a process has to tell the ingress and has not told yet, within bounds."""

from typing import Any, Final, TypeVar

import orjson

from lightning.live.frames import RunProgress, RunStage
from lightning.live.texts import FRAME_BYTES, Texts, size

#: Deltas that wait hold at most so much text; the oldest give way.
MAX_CHARACTERS = 1024 * 1024

#: `/notify` takes 256 KiB.
MAX_BODY_BYTES = 240 * 1024

#: Of these, users have at least so much, and what runs print.
USERS_BYTES = 64 * 1024
LINES_BYTES: Final = 40 * 1024

#: Of these, where runs stand and how far they have come.
RUNS_BYTES: Final = 16 * 1024

#: Text of one delta: at most six bytes a character in JSON.
MAX_DELTA_CHARACTERS = 8 * 1024

#: What runs printed and waits, of all runs and of one, and of a frame: what gives way is in their logs.
MAX_LINES_CHARACTERS: Final = 512 * 1024
MAX_RUN_CHARACTERS: Final = 16 * 1024
MAX_PIECE_CHARACTERS: Final = 4 * 1024

#: Runs of which something else waits; the oldest give way.
MAX_RUNS: Final = 1024

_Frame = TypeVar("_Frame", RunStage, RunProgress)

#: By run: whose it is, and the latest.
_Latest = dict[str, tuple[str, _Frame]]


class Outbox:
    """Collects what is to be told, contiguous pieces of one text joined, and gives it out in bodies."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._answers = Texts(MAX_CHARACTERS, each=MAX_CHARACTERS, piece=MAX_DELTA_CHARACTERS)
        self._lines = Texts(MAX_LINES_CHARACTERS, each=MAX_RUN_CHARACTERS, piece=MAX_PIECE_CHARACTERS)
        self._stages: _Latest[RunStage] = {}
        self._progress: _Latest[RunProgress] = {}

    def __bool__(self) -> bool:
        return bool(self._users or self._answers or self._lines or self._stages or self._progress)

    @property
    def dropped(self) -> int:
        """How often deltas gave way to newer ones."""
        return self._answers.dropped

    def holds(self, key: str) -> bool:
        """Tell whether text of an event that is answered, or of a run, waits."""
        return self._answers.holds(key) or self._lines.holds(key)

    def grown(self, user_id: str, seq: int) -> None:
        """Note that a user's log has grown up to ``seq``."""
        self._users[user_id] = max(seq, self._users.get(user_id, 0))

    def delta(
        self, user_id: str, event_id: str, conversation_id: str, attempt: int, offset: int, text: str
    ) -> None:
        """Note a piece of an answer."""
        names = {"event": event_id, "conversationID": conversation_id, "attempt": attempt}
        self._answers.add(user_id, event_id, names, offset, text)

    def lines(self, user_id: str, run: str, task: str, offset: int, text: str) -> None:
        """Note what a run printed."""
        self._lines.add(user_id, run, {"run": run, "task": task}, offset, text)

    def stage(self, user_id: str, stage: RunStage) -> None:
        """Note where a run stands."""
        _put(self._stages, user_id, stage)

    def progress(self, user_id: str, progress: RunProgress) -> None:
        """Note how far a run has come."""
        _put(self._progress, user_id, progress)

    def take(self, session: str | None = None) -> tuple[bytes, set[str]]:
        """Give as much as fits one body, and the events and runs whose texts are in it.

        Parameters:
          session: The session token that goes with it.
        """
        users = self._take_users()
        deltas, answered = self._answers.take(MAX_BODY_BYTES - USERS_BYTES - LINES_BYTES - RUNS_BYTES)
        stages = _take(self._stages, RUNS_BYTES // 2)
        lines, printed = {}, set[str]()
        if not self._stages:  # where a run stands is told before what it printed
            lines, printed = self._lines.take(LINES_BYTES)
        runs = {"stages": stages, "progress": _take(self._progress, RUNS_BYTES // 2), "lines": lines}
        known = {} if session is None else {"session": session}
        told = {name: each for name, each in runs.items() if each}
        body = {"type": "frames", "users": users, "deltas": deltas, **told, **known}
        return orjson.dumps(body), answered | printed

    def _take_users(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        left = USERS_BYTES
        for user_id, seq in self._users.items():
            left -= size(user_id) + 24
            if left < 0:
                break
            taken[user_id] = seq
        for user_id in taken:
            del self._users[user_id]
        return taken


def _put(latest: _Latest[_Frame], user_id: str, frame: _Frame) -> None:
    latest.pop(frame.run, None)
    latest[frame.run] = (user_id, frame)
    if len(latest) > MAX_RUNS:
        del latest[next(iter(latest))]


def _take(latest: _Latest[_Frame], left: int) -> dict[str, list[dict[str, Any]]]:
    """Give as many as fit into so many bytes, one at least, by user."""
    taken: dict[str, list[dict[str, Any]]] = {}
    for run, (user_id, frame) in list(latest.items()):
        told = frame.model_dump()
        left -= len(orjson.dumps(told)) + size(user_id) + FRAME_BYTES
        if left < 0 and taken:
            break
        del latest[run]
        taken.setdefault(user_id, []).append(told)
    return taken
