"""Run tokens: what a run shows to the run API, good for this one run while it goes on."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lightning.domain.accounts import Accounts
from lightning.domain.runs import RunDocument, Runs
from lightning.domain.tokens import Claims, TokenIssuer
from lightning.errors import Unauthorized
from lightning.events import EventDocument
from lightning.log import EventLog
from lightning.telemetry.redaction import REDACTED

#: A token outlives its run's own time by so long: before its command begins, its image may have to be
#: fetched. That it ends with its run is checked at every call.
GRACE_SECONDS: Final = 1800

# Whoever runs says what it likes: each word is looked at from its beginning alone, and never a second time.
_SIGNED: Final = re.compile(
    rb"(?<![\w-])(?=[\w-]++\.eyJ[\w-]++\.[\w-])([\w-]*?)(eyJ[\w-]++)\.eyJ[\w-]++\.[\w-]++"
)


@dataclass(frozen=True, slots=True)
class RunAccess:
    """What a run token stands for, as it was when it was checked.

    Parameters:
      user_id: Whose run it is.
      run: The run.
      task: Its `worker.task`.
      claims: What the token says.
    """

    user_id: str
    run: RunDocument
    task: EventDocument
    claims: Claims

    @property
    def trace(self) -> Mapping[str, str]:
        """The trace context that the run was started with."""
        given = self.claims.extra.get("traceparent")
        return self.task["trace"] if given is None else {"traceparent": str(given)}


def mint(
    issuer: TokenIssuer, run: RunDocument, timeout_seconds: float, traceparent: str | None = None
) -> str:
    """Make a token for a run; every attempt at its start may make another, and each is as good.

    Parameters:
      issuer: Whose signature the ingress accepts.
      run: The run.
      timeout_seconds: How long its command may take.
      traceparent: The trace context that it is started with (W3C Trace Context).
    """
    claims: dict[str, Any] = {"run": run["id"], "start": run.get("resets", 0)}
    if traceparent is not None:
        claims["traceparent"] = traceparent
    lifetime_seconds = math.ceil(timeout_seconds) + GRACE_SECONDS
    return issuer.issue("run", run["userID"], lifetime_seconds=lifetime_seconds, claims=claims)


def without_tokens(said: bytes) -> bytes:
    """Take the tokens of runs out of what one says: agents print their environment, or show it to models."""
    return _SIGNED.sub(_hide, said)


def _hide(token: re.Match[bytes]) -> bytes:
    try:
        header = base64.urlsafe_b64decode(token[2] + b"==")
    except binascii.Error:
        return token[0]
    return token[1] + REDACTED.encode() if b'"run+jwt"' in header else token[0]


class RunTokens:
    """Checks run tokens.

    Parameters:
      issuer: Knows their signatures.
      runs: The runs.
      log: Their tasks.
      accounts: Whose they are.
    """

    def __init__(self, issuer: TokenIssuer, runs: Runs, log: EventLog, accounts: Accounts) -> None:
        self._issuer = issuer
        self._runs = runs
        self._log = log
        self._accounts = accounts

    def verify(self, token: str) -> tuple[str, Claims]:
        """Tell of which run a token is, without a look at the store, and what it says.

        Raises:
          Unauthorized: It is no run token of ours, or it has expired (``invalid_token``).
        """
        claims = self._issuer.verify(token, "run")
        return str(claims.extra.get("run")), claims

    async def check(self, claims: Claims) -> RunAccess:
        """Tell what a token stands for that was verified.

        Raises:
          Unauthorized: Its run is over or was begun anew, its task is over or cancelled, or its user is
            disabled (``invalid_token``).
          Transient: The store does not answer.
        """
        return await self._read(claims)

    async def still_good(self, access: RunAccess) -> bool:
        """Tell whether a token that was accepted would be accepted now; for what stays open.

        Raises:
          Transient: The store does not answer.
        """
        if self._issuer.is_over(access.claims):
            return False
        try:
            await self._read(access.claims)
        except Unauthorized:
            return False
        return True

    async def _read(self, claims: Claims) -> RunAccess:
        user_id, extra = claims.subject, claims.extra
        run = await self._runs.find(user_id, str(extra.get("run")))
        if not _is_of(claims, run):  # the worker may have written it a moment ago
            run = await self._runs.current(user_id, str(extra.get("run")))
        if run is None or not _is_of(claims, run) or run["outcome"] is not None:
            raise _refusal()
        task = await self._log.get(user_id, run["eventID"])
        if task is None or task["state"] != "accepted" or await self._log.is_cancelled(task):
            raise _refusal()
        account = await self._accounts.read(user_id)
        if account is None or account.disabled:
            raise _refusal()
        return RunAccess(user_id, run, task, claims)


def _is_of(claims: Claims, run: RunDocument | None) -> bool:
    return run is not None and claims.extra.get("start") == run.get("resets", 0)


def _refusal() -> Unauthorized:
    return Unauthorized("the token is not accepted: its run is over, or never was", code="invalid_token")
