"""One emulated account, run in a thread of its own."""

import base64
import secrets
from contextlib import ExitStack
from pathlib import Path

from starlette.types import ASGIApp

from ops.emulators.cosmos.account import Account
from ops.emulators.cosmos.app import CosmosApp
from ops.emulators.cosmos.authorization import Authorization
from ops.emulators.cosmos.certificate import make_certificate
from ops.emulators.cosmos.clock import Clock
from ops.emulators.cosmos.container import Lag
from ops.emulators.cosmos.control import Control
from ops.emulators.cosmos.faults import Faults
from ops.emulators.cosmos.gateway import Gateway
from ops.emulators.cosmos.journal import Journal
from ops.emulators.http_emulator import HttpEmulator, kept_secret

#: How long a write may be missed by reads without a session token, unless told otherwise.
DEFAULT_LAG_SECONDS = 0.2


class CosmosEmulator(HttpEmulator[Faults]):
    """An account of Azure Cosmos DB for NoSQL on loopback, from `start` to `stop` or in a ``with``.

    Parameters:
      port: The port; 0 takes a free one, which stays the same when it is started again.
      data: A folder that keeps the account; None: it is gone with the emulator.
      key: The account's key, in base64; None makes one, which the folder keeps.
      https: Whether to serve HTTPS, with a certificate of its own: `certificate`.
      accept_tokens: Whether tokens of Entra ID are accepted; their signature is not checked.
      ranges: How many ranges of partition keys a new container has.
      lag_seconds: A write may be missed by reads without a session token while it is younger.
      lag_writes: At most this many of a range's newest writes are missed; None: any number.
      control_port: The port of the control interface; 0 takes a free one, None has none.

    Raises:
      ValueError: The key is not in base64.
    """

    name = "cosmos"

    def __init__(
        self,
        *,
        port: int = 0,
        data: Path | None = None,
        key: str | None = None,
        https: bool = False,
        accept_tokens: bool = False,
        ranges: int = 1,
        lag_seconds: float = DEFAULT_LAG_SECONDS,
        lag_writes: int | None = None,
        control_port: int | None = None,
    ) -> None:
        self.certificate, tls = make_certificate() if https else (b"", None)
        super().__init__(port, control_port, tls)
        self._data = data
        self._ranges = ranges
        self._accept_tokens = accept_tokens
        self.key = key or kept_secret(data, "account.key", _new_key)
        self.faults = Faults()
        self.clock = Clock()
        self.lag = Lag(lag_seconds, lag_writes)
        self.account: Account | None = None
        base64.b64decode(self.key, validate=True)

    def _open(self, stack: ExitStack) -> tuple[ASGIApp, ASGIApp]:
        journal = None
        if self._data is not None:
            journal = Journal(self._data / "cosmos.db")
            stack.callback(journal.close)
        account = self.account = Account(self._ranges, self.lag, journal)
        authorization = Authorization(self.key, accept_tokens=self._accept_tokens)
        app = CosmosApp(Gateway(account, self.clock), authorization, self.faults)
        return app, Control(app, self.faults, self.clock, self.lag).app

    @property
    def endpoint(self) -> str:
        """The account's address."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}/"

    @property
    def connection_string(self) -> str:
        """The account's address and key, as the SDK takes them."""
        return f"AccountEndpoint={self.endpoint};AccountKey={self.key};"


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
