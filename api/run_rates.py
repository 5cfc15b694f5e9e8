"""How often a run may call the run API of one ingress."""

import math
import time
from collections.abc import Callable
from typing import Final

from lightning.errors import Transient

#: A run that was silent may make the calls of so many seconds at once.
BURST_SECONDS: Final = 4

#: Runs are looked through for those that were silent for long, once so many are known.
_MANY: Final = 1024


class RunRateLimited(Transient):
    """The run calls too often."""

    code = "run_rate_limited"
    status = 429


class RunRates:
    """Counts the calls of each run, before anything is read for them; a bucket of tokens each.

    Parameters:
      per_second: Calls in a second, in the long run.
      now: Seconds that only grow.
    """

    def __init__(self, per_second: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._now = now
        self._full_at: dict[str, float] = {}  # by run, when its bucket is full again
        self._many = _MANY

    def count(self, run: str) -> None:
        """Count a call of a run.

        Raises:
          RunRateLimited: It makes too many; it may wait, and then go on.
        """
        now = self._now()
        full_at = max(self._full_at.get(run, 0.0), now) + 1 / self._per_second
        over = full_at - now - BURST_SECONDS
        if over > 0:
            message = f"The run makes more than {self._per_second} calls in a second; call less often."
            raise RunRateLimited(message, retry_after=math.ceil(over))
        self._full_at[run] = full_at
        if len(self._full_at) > self._many:
            self._full_at = {run: at for run, at in self._full_at.items() if at > now}
            self._many = max(_MANY, 2 * len(self._full_at))
