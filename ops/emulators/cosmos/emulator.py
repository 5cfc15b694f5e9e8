"""One emulated account, run in a thread of its own."""

import base64
import secrets
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

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
from ops.emulators.loopback import serving

#: How long a write may be missed by reads without a session token, unless told otherwise.
DEFAULT_LAG_SECONDS = 0.2


class CosmosEmulator:
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
        self._port = port
        self._data = data
        self._ranges = ranges
        self._accept_tokens = accept_tokens
        self._control_port = control_port
        self._stack = ExitStack()
        self.key = key or _kept_key(data)
        self.faults = Faults()
        self.clock = Clock()
        self.lag = Lag(lag_seconds, lag_writes)
        self.account: Account | None = None
        self.certificate, self._tls = make_certificate() if https else (b"", None)
        base64.b64decode(self.key, validate=True)

    def start(self) -> None:
        """Open the account and begin to serve it.

        Raises:
          OSError: A port is taken.
          sqlite3.OperationalError: The folder's file cannot be used, or another emulator does.
        """
        with ExitStack() as stack:
            journal = None
            if self._data is not None:
                journal = Journal(self._data / "cosmos.db")
                stack.callback(journal.close)
            account = self.account = Account(self._ranges, self.lag, journal)
            authorization = Authorization(self.key, accept_tokens=self._accept_tokens)
            app = CosmosApp(Gateway(account, self.clock), authorization, self.faults)
            self._port = stack.enter_context(serving(app, "cosmos-emulator", self._port, tls=self._tls))
            if self._control_port is not None:
                control = Control(app, self.faults, self.clock, self.lag).app
                self._control_port = stack.enter_context(
                    serving(control, "cosmos-control", self._control_port)
                )
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop serving; without a folder, the account is gone."""
        self._stack.close()

    @property
    def endpoint(self) -> str:
        """The account's address."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}/"

    @property
    def control_url(self) -> str:
        """The address of the control interface."""
        return f"http://127.0.0.1:{self._control_port}"

    @property
    def connection_string(self) -> str:
        """The account's address and key, as the SDK takes them."""
        return f"AccountEndpoint={self.endpoint};AccountKey={self.key};"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _kept_key(data: Path | None) -> str:
    """Give the key that a folder keeps, made when there is none."""
    made = base64.b64encode(secrets.token_bytes(64)).decode()
    if data is None:
        return made
    path = data / "account.key"
    if path.exists():
        return path.read_text()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(made)
    return made
