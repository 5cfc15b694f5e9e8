"""How a client comes by its tokens, keeps them, renews them and gives them up."""

import contextlib
import time
from typing import Final

from lightning.client import requests
from lightning.client.errors import ClientError
from lightning.client.session_file import Kept, SessionFile
from lightning.client.shapes import Token
from lightning.client.steps import Pause, Steps, ask
from lightning.client.tokens import Tokens

#: Longer than any request takes: whoever renews a session for so long does nothing any more.
PATIENCE_SECONDS: Final = 60.0

_LOOK_AGAIN_SECONDS: Final = 0.02


class Renewal:
    """The session of one client.

    Parameters:
      url: Where the ingress listens.
      tokens: The client's tokens.
      file: Where the session is kept, if other programs shall share it.
      credentials: Username and password, to log in again when the session is over.
    """

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        file: SessionFile | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self._url = url
        self._tokens = tokens
        self._file = file
        self._credentials = credentials

    def possible(self) -> bool:
        """Tell whether there is a way to another access token."""
        return self._tokens.refresh is not None or self._file is not None or self._credentials is not None

    def take_up(self) -> bool:
        """Use the tokens that are kept; tell whether there are any."""
        kept = self._kept()
        if kept is not None:
            self._tokens.take_up(kept)
        return kept is not None

    def renew(self) -> Steps[None]:
        """Get another access token.

        Raises:
          ClientError: The session is over; or there was no answer.
        """
        used = self._tokens.access
        yield from self._wait_for_turn_and(self._renew(used))

    def log_in(self, username: str, password: str) -> Steps[str]:
        """Begin a session in place of the one that was there, and give its access token."""

        def begin() -> Steps[None]:
            before = self._kept()
            yield from self._log_in(username, password)
            if before is not None and before.refresh_token is not None:
                # nobody has its tokens any more; if it cannot be ended now, it ends by itself
                with contextlib.suppress(ClientError):
                    yield from ask(self._url, requests.revoke(before.refresh_token))

        yield from self._wait_for_turn_and(begin())
        return self._tokens.access or ""

    def log_out(self) -> Steps[bool]:
        """End the session.

        Returns:
          Whether there was one.

        Raises:
          ClientError: There was no answer; the session goes on.
        """
        ended = False

        def end() -> Steps[None]:
            nonlocal ended
            self.take_up()
            if self._tokens.refresh is None:
                return
            yield from ask(self._url, requests.revoke(self._tokens.refresh))
            self._forget()
            self._tokens.access = None
            ended = True

        yield from self._wait_for_turn_and(end())
        return ended

    def _wait_for_turn_and(self, steps: Steps[None]) -> Steps[None]:
        if self._file is None:
            yield from steps
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._file.turn() as turn:
            while not turn.come():
                if time.monotonic() > deadline:
                    raise ClientError("another program renews the session and does not end; end it")
                yield Pause(_LOOK_AGAIN_SECONDS)
            yield from steps

    def _renew(self, used: str | None) -> Steps[None]:
        # what another program made of the session is newer than what this one knows
        if self._file is not None:
            found = self.take_up()
            if found and self._tokens.access != used and not self._tokens.stale():
                return
            if not found:
                self._tokens.refresh = None
        refusal = ClientError("the session is over; log in again", status=401, code="invalid_token")
        if self._tokens.refresh is not None:
            try:
                self._adopt((yield from ask(self._url, requests.refresh(self._tokens.refresh))))
            except ClientError as error:
                if error.status != 401:
                    raise
                refusal = error
                self._forget()
            else:
                return
        if self._credentials is None:
            raise refusal
        yield from self._log_in(*self._credentials)

    def _log_in(self, username: str, password: str) -> Steps[None]:
        self._adopt((yield from ask(self._url, requests.token(username, password))))

    def _adopt(self, token: Token) -> None:
        self._tokens.adopt(token)
        if self._file is not None:
            expires_at = time.time() + token["expires_in"]
            access, refresh = token["access_token"], self._tokens.refresh
            self._file.write(Kept(self._url, token["userID"], access, refresh, expires_at))

    def _forget(self) -> None:
        self._tokens.refresh = None
        if self._file is not None:
            self._file.forget()

    def _kept(self) -> Kept | None:
        """Read what is kept for this installation; what is kept for another one must not be sent to it."""
        kept = None if self._file is None else self._file.read()
        return None if kept is None or kept.url != self._url else kept
