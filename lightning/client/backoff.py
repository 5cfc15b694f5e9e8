"""How long to wait before a request is repeated, and when to give up."""

import random
import time

from lightning.client.errors import ClientError

FIRST_SECONDS = 0.1
MAX_SECONDS = 5.0


class Backoff:
    """Pauses that double, with jitter, and never undercut what the platform asks for.

    Parameters:
      within_seconds: Give up when the next attempt would come later than this; never without.
    """

    def __init__(self, within_seconds: float | None = None) -> None:
        self._deadline = None if within_seconds is None else time.monotonic() + within_seconds
        self._next = FIRST_SECONDS

    def pause(self, error: ClientError) -> float:
        """Give the seconds to wait before the next attempt.

        Raises:
          ClientError: The error itself, if another attempt cannot help or would come too late.
        """
        seconds = self._next * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads clients, hides nothing
        if error.retry_after is not None:
            seconds = max(seconds, error.retry_after)
        late = self._deadline is not None and time.monotonic() + seconds > self._deadline
        if late or not error.temporary:
            raise error
        self._next = min(self._next * 2, MAX_SECONDS)
        return seconds

    def reset(self) -> None:
        """Begin again with short pauses: something worked."""
        self._next = FIRST_SECONDS
