"""The tokens of one client, and when they have to be renewed."""

import time

from lightning.client.session_file import Kept
from lightning.client.shapes import Token

#: An access token is renewed so long before its end, or in the last tenth of a short life.
MARGIN_SECONDS = 30.0


class Tokens:
    """Who a client is, and how it shows it.

    Parameters:
      access: An access token that is known already; its end is not known.
      user_id: Whose it is, if known.
    """

    def __init__(self, access: str | None = None, user_id: str | None = None) -> None:
        self.access = access
        self.refresh: str | None = None
        self.user_id = user_id
        self._renew_at: float | None = None

    def adopt(self, token: Token) -> None:
        """Use the tokens of an answer from now on."""
        self.access = token["access_token"]
        # a server that does not rotate sends none with a refreshed token (RFC 6749, section 6)
        self.refresh = token.get("refresh_token", self.refresh)
        self.user_id = token["userID"]
        lifetime = token["expires_in"]
        self._renew_at = time.monotonic() + lifetime - min(MARGIN_SECONDS, lifetime / 10)

    def take_up(self, kept: Kept) -> None:
        """Use the tokens of another program's answer from now on."""
        self.access = kept.access_token
        self.refresh = kept.refresh_token
        self.user_id = kept.user_id
        left = kept.expires_at - time.time()
        self._renew_at = time.monotonic() + left - min(MARGIN_SECONDS, max(left, 0) / 10)

    def stale(self) -> bool:
        """Tell whether the access token is about to end and can be renewed."""
        return self.refresh is not None and self._renew_at is not None and time.monotonic() > self._renew_at

    def headers(self) -> dict[str, str]:
        """Give the header that shows who this is; none before there is a token."""
        return {} if self.access is None else {"authorization": f"Bearer {self.access}"}
