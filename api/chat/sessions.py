"""Who is logged in to the chat, and the client that speaks as each of them.

A browser has a signed cookie that names a session. The session's tokens are in a file that only this process
reads, where its client renews them: a chat that is started again knows its users, and no browser has a token.
"""

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lightning.client import AsyncClient, ClientError, SessionFile

#: A cookie is good for so long, and its session is not kept longer.
LIFE_SECONDS: Final = 15 * 24 * 3600

_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in, in one browser.

    Parameters:
      id: Names the session; without the signature of the cookie it opens nothing.
      client: Speaks as its user.
    """

    id: str
    client: AsyncClient


class Sessions:
    """The sessions of this chat.

    Parameters:
      url: Where the ingress listens.
      folder: Where their tokens are kept.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._open: dict[str, Session] = {}

    async def begin(self, username: str, password: str, forwarded_for: str) -> Session:
        """Log somebody in.

        Parameters:
          username: Who.
          password: Theirs.
          forwarded_for: Where they are, for the limits of log-ins.

        Raises:
          ClientError: Name or password is wrong, or there was no answer.
        """
        session = self._session(secrets.token_hex(16), forwarded_for)
        try:
            await session.client.log_in(username, password)
        except ClientError:
            await session.client.aclose()
            raise
        self._open[session.id] = session
        return session

    async def find(self, session_id: str) -> Session | None:
        """Give a session that goes on."""
        if not _ID.fullmatch(session_id) or not self._file(session_id).exists():
            return None
        session = self._open.get(session_id)
        if session is None:
            session = self._session(session_id)
            try:
                await session.client.resume()
            except ClientError as error:
                await session.client.aclose()
                if error.status == 401:
                    return None
                raise
            session = self._open.setdefault(session_id, session)
        return session

    async def end(self, session_id: str) -> None:
        """Log out: its tokens are refused from then on.

        Raises:
          ClientError: There was no answer; the session goes on.
        """
        session = await self.find(session_id)
        if session is not None:
            await session.client.log_out()
            self._file(session_id).unlink(missing_ok=True)
            self._open.pop(session_id, None)
            await session.client.aclose()

    def forget_old(self) -> None:
        """Remove what no cookie can name any more."""
        for file in self._folder.glob("*"):
            if file.stat().st_mtime < time.time() - LIFE_SECONDS:
                file.unlink(missing_ok=True)

    async def aclose(self) -> None:
        """Let go of the connections; the sessions go on."""
        for session in self._open.values():
            await session.client.aclose()

    def _session(self, session_id: str, forwarded_for: str | None = None) -> Session:
        file = SessionFile(self._file(session_id))
        return Session(session_id, AsyncClient(self._url, session=file, forwarded_for=forwarded_for))

    def _file(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"
