"""What one open stream has not taken yet of the runs of its user; bounded, however slow its reader is."""

from collections import deque
from typing import Final, TypeVar

from lightning.live.frames import RunFrame, RunLines, RunProgress, RunStage

#: Pieces of logs that wait for one reader, and their characters; the oldest give way.
MAX_PIECES: Final = 256
MAX_CHARACTERS: Final = 128 * 1024

#: Runs of which something else waits for one reader; the oldest give way.
MAX_RUNS: Final = 64

#: Tasks that are over and that a stream remembers, so that no frame comes behind their result.
MAX_OVER: Final = 256

_Frame = TypeVar("_Frame", RunStage, RunProgress)


class RunBox:
    """Keeps the latest of each run, and of what they print as much as has room."""

    def __init__(self) -> None:
        self.dropped = 0  #: pieces that gave way to newer ones
        self._stages: dict[str, RunStage] = {}
        self._progress: dict[str, RunProgress] = {}
        self._lines: deque[RunLines] = deque()
        self._characters = 0
        self._over: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._stages or self._progress or self._lines)

    def put(self, frame: RunFrame) -> None:
        """Leave a frame, unless its task is over; one that starts again is not."""
        if isinstance(frame, RunStage) and frame.status == "starting":
            self._over.pop(frame.task, None)
        if frame.task in self._over:
            return
        match frame:
            case RunLines():
                self._lines.append(frame)
                self._characters += len(frame.text)
                while len(self._lines) > MAX_PIECES or self._characters > MAX_CHARACTERS:
                    self._characters -= len(self._lines.popleft().text)
                    self.dropped += 1
            case RunStage():
                _put(self._stages, frame)
            case RunProgress():
                _put(self._progress, frame)

    def take(self) -> list[RunFrame]:
        """Give what waits: of each run first where it stands."""
        found = [*self._stages.values(), *self._lines, *self._progress.values()]
        self._stages.clear()
        self._progress.clear()
        self._lines.clear()
        self._characters = 0
        return found

    def over(self, task: str) -> None:
        """Note that the result of a task goes to the reader now: nothing of its run comes behind it."""
        self._over.pop(task, None)
        self._over[task] = None
        if len(self._over) > MAX_OVER:
            del self._over[next(iter(self._over))]
        waiting = [frame for frame in self.take() if frame.task != task]
        for frame in waiting:
            self.put(frame)


def _put(latest: dict[str, _Frame], frame: _Frame) -> None:
    latest.pop(frame.run, None)
    latest[frame.run] = frame
    if len(latest) > MAX_RUNS:
        del latest[next(iter(latest))]
