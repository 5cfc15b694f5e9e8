"""A session that is kept in a file, so that the programs of one person share it."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lightning.private_files import replace_private


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of a session.

    Parameters:
      url: Where they are good, and nowhere else may they be sent.
      user_id: Whose they are.
      access_token: The access token.
      refresh_token: The refresh token, if the server gives such.
      expires_at: When the access token ends, in Unix time.
    """

    url: str
    user_id: str
    access_token: str
    refresh_token: str | None
    expires_at: float


class SessionFile:
    """A file that only its owner may read, and that nobody ever sees half of.

    Whoever renews the session holds its `turn` meanwhile: a refresh token is good once.

    Parameters:
      path: The file; its directory is made when there is something to keep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Kept | None:
        """Give what is kept; None if that is nothing, or nothing that can be read."""
        try:
            return Kept(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, kept: Kept) -> None:
        """Keep something else from now on."""
        replace_private(self._path, json.dumps(asdict(kept)))

    def forget(self) -> None:
        """Keep nothing any more."""
        self._path.unlink(missing_ok=True)

    def turn(self) -> "Turn":
        """Queue up to renew the session."""
        return Turn(self._path.with_suffix(".lock"))


class Turn:
    """The right to renew a session, which ends with the process that has it at the latest.

    Parameters:
      path: The file that is locked. It is never removed: who waits would wait for another one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def come(self) -> bool:
        """Tell whether it is ours now; it stays so until the block ends."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
