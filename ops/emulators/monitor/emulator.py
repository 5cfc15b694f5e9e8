"""One emulated resource, run in a thread of its own."""

import uuid
from contextlib import ExitStack
from pathlib import Path

from starlette.types import ASGIApp

from ops.emulators.http_emulator import HttpEmulator, kept_secret
from ops.emulators.monitor.app import MonitorApp
from ops.emulators.monitor.control import Control
from ops.emulators.monitor.faults import Faults
from ops.emulators.monitor.store import EnvelopeStore


class MonitorEmulator(HttpEmulator[Faults]):
    """A resource of Application Insights on loopback, from `start` to `stop` or in a ``with``.

    Parameters:
      port: The port; 0 takes a free one, which stays the same when it is started again.
      data: A folder that keeps what is taken, and the key; None: it is gone with the emulator.
      key: The instrumentation key; None makes one.
      token: The bearer token that is demanded besides; None: none is.
      control_port: The port of the control interface; 0 takes a free one, None has none.

    Raises:
      ValueError: The key is no UUID.
    """

    name = "monitor"

    def __init__(
        self,
        *,
        port: int = 0,
        data: Path | None = None,
        key: str | None = None,
        token: str | None = None,
        control_port: int | None = None,
    ) -> None:
        super().__init__(port, control_port)
        self._path = None if data is None else data / "telemetry.db"
        self._token = token
        self.key = (
            str(uuid.UUID(key))
            if key
            else kept_secret(data, "instrumentation.key", lambda: str(uuid.uuid4()))
        )
        self.faults = Faults()
        self.store: EnvelopeStore | None = None

    def _open(self, stack: ExitStack) -> tuple[ASGIApp, ASGIApp]:
        store = self.store = EnvelopeStore(self._path)
        stack.callback(store.close)
        app = MonitorApp(store, self.faults, self.key, self._token)
        return app, Control(app, self.faults, store).app

    @property
    def endpoint(self) -> str:
        """The resource's address."""
        return f"http://127.0.0.1:{self._port}/"

    @property
    def connection_string(self) -> str:
        """The resource's key and addresses, as the exporter takes them."""
        return f"InstrumentationKey={self.key};IngestionEndpoint={self.endpoint};LiveEndpoint={self.endpoint}"
