"""Searches under way: how many of one user at a time, as one may well take seconds."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from lightning.errors import Transient

#: Searches of one user under way at a time, in one process: fewer than git runs, so that others find a turn.
PER_USER: Final = 2

RETRY_SECONDS: Final = 2.0


class TooManySearches(Transient):
    """The user has as many searches under way as one may have."""

    code = "too_many_searches"
    status = 429


class Searches:
    """The searches under way at one ingress."""

    def __init__(self) -> None:
        self._of_users: Counter[str] = Counter()

    @contextmanager
    def place(self, user_id: str) -> Generator[None]:
        """Count a search of a user for as long as the block lasts.

        Raises:
          TooManySearches: Others of the user's are under way.
        """
        if self._of_users[user_id] >= PER_USER:
            message = f"{PER_USER} searches of yours are under way; wait for one of them"
            raise TooManySearches(message, retry_after=RETRY_SECONDS)
        self._of_users[user_id] += 1
        try:
            yield
        finally:
            self._of_users -= Counter({user_id: 1})
