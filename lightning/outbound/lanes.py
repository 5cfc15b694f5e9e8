"""How many requests run at once in this process: in all, for one user, to one endpoint."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

#: What a request is expected to take before any was seen.
FIRST_SECONDS = 0.2

#: The longest wait that is asked of anybody: what is expected may be wrong.
MAX_WAIT_SECONDS = 30.0

#: Endpoints and users that are remembered; beyond, those that are idle are forgotten.
MAX_LANES = 1000


@dataclass(slots=True)
class _Lane:
    """One limit.

    Parameters:
      limit: Requests at a time.
      busy: Requests under way.
      usual_seconds: What a request takes here, learnt.
      free_at: When the last of those who were sent away finds room.
    """

    limit: int
    busy: int = 0
    usual_seconds: float = FIRST_SECONDS
    free_at: float = 0.0

    def queue(self, now: float) -> float:
        """Give the seconds after which one more finds room, a place behind the last one."""
        self.free_at = max(now, self.free_at) + self.usual_seconds / self.limit
        return min(self.free_at - now, MAX_WAIT_SECONDS)


class Full(Exception):
    """There is no room now.

    Parameters:
      wait_seconds: When to come again; everybody is given another moment.
    """

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"no room for {wait_seconds:.2f} s")
        self.wait_seconds = wait_seconds


class Lanes:
    """Keeps one endpoint, and one user, from taking all the room. Belongs to one event loop.

    Parameters:
      total: Requests at a time, of everybody.
      clock: Seconds that only go forward.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_user = max(1, total * 3 // 4)
        self._per_endpoint = max(1, total // 4)
        self._all = _Lane(total)
        self._lanes: dict[str, _Lane] = {}
        self._clock = clock

    @contextmanager
    def room(self, user_id: str, endpoint_id: str) -> Generator[None]:
        """Take room for one request.

        Raises:
          Full: There is none.
        """
        started = self._clock()
        if len(self._lanes) >= MAX_LANES:  # the memory does not grow with the number of endpoints
            self._lanes = {name: lane for name, lane in self._lanes.items() if lane.busy}
        lanes = [
            self._lane(f"endpoint {endpoint_id}", self._per_endpoint),
            self._lane(f"user {user_id}", self._per_user),
            self._all,
        ]
        for lane in lanes:
            if lane.busy >= lane.limit:
                raise Full(lane.queue(started))
        for lane in lanes:
            lane.busy += 1
        try:
            yield
        finally:
            took = self._clock() - started
            for lane in lanes:
                lane.busy -= 1
                lane.usual_seconds += (took - lane.usual_seconds) / 4

    def _lane(self, name: str, limit: int) -> _Lane:
        return self._lanes.setdefault(name, _Lane(limit))
