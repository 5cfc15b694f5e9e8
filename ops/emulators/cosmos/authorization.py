"""Checks the header ``Authorization``: a signature by the account's key, or a token of Entra ID.

Sources: "Access control on Azure Cosmos DB resources" (the string that is signed, and the clock's
15 minutes), "Use data plane role-based access control" (what a token may not do).
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote

import jwt

from ops.emulators.cosmos.errors import AAD_NOT_AUTHORIZED, CosmosError
from ops.emulators.cosmos.request import Address

CLOCK_SKEW_SECONDS = 15 * 60

_WRONG_SIGNATURE = (
    "The input authorization token can't serve the request. Please check that the expected payload is"
    " built as per the protocol, and check the key being used."
)


class Authorization:
    """Decides who may do what.

    Parameters:
      key: The account's key, in base64.
      accept_tokens: Whether tokens of Entra ID are accepted. Their signature cannot be checked here.
    """

    def __init__(self, key: str, *, accept_tokens: bool) -> None:
        self._key = base64.b64decode(key, validate=True)
        self._accept_tokens = accept_tokens

    def check(self, method: str, address: Address, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Raises:
          CosmosError: It is not allowed: 401 or 403.
        """
        header = headers.get("authorization")
        if not header:
            raise CosmosError(401, "Required Header authorization is missing.")
        named = (part.partition("=") for part in unquote(header).split("&"))
        parts = {name: value for name, _, value in named}
        if parts.get("type") == "aad":
            self._check_token(parts.get("sig", ""), method, address)
        elif parts.get("type") == "master" and parts.get("ver") == "1.0":
            self._check_signature(parts.get("sig", ""), method, address, headers)
        else:
            raise CosmosError(401, "The authorization token is neither of type master nor aad, version 1.0.")

    def _check_signature(
        self, signature: str, method: str, address: Address, headers: Mapping[str, str]
    ) -> None:
        date = headers.get("x-ms-date", "") or headers.get("date", "")
        sent_at = _seconds(date)
        text = "\n".join(
            [
                method.lower(),
                address.kind,
                address.link,
                headers.get("x-ms-date", "").lower(),
                headers.get("date", "").lower() if "x-ms-date" not in headers else "",
                "",
            ]
        )
        expected = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise CosmosError(401, _WRONG_SIGNATURE)
        if sent_at is None or abs(time.time() - sent_at) > CLOCK_SKEW_SECONDS:
            raise CosmosError(
                403,
                "The authorization token is not valid at the current time: its date is over 15 minutes off.",
            )

    def _check_token(self, token: str, method: str, address: Address) -> None:
        if not self._accept_tokens:
            raise CosmosError(401, "Tokens of Entra ID are refused: start the emulator with --accept-tokens.")
        try:
            jwt.decode(token, options={"verify_signature": False, "verify_exp": True})
        except jwt.InvalidTokenError as error:
            raise CosmosError(401, f"The token is not valid: {error}.") from None
        if method != "GET" and address.kind in {"dbs", "colls"}:
            raise CosmosError(
                403,
                "Request blocked by Auth: the data plane's role-based access control does not manage"
                " databases and containers.",
                substatus=AAD_NOT_AUTHORIZED,
            )


@lru_cache(maxsize=64)
def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
