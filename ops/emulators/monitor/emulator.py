"""One emulated resource, run in a thread of its own."""

import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.emulators.loopback import serving
from ops.emulators.monitor.app import MonitorApp
from ops.emulators.monitor.control import Control
from ops.emulators.monitor.faults import Faults
from ops.emulators.monitor.store import EnvelopeStore


class MonitorEmulator:
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

    def __init__(
        self,
        *,
        port: int = 0,
        data: Path | None = None,
        key: str | None = None,
        token: str | None = None,
        control_port: int | None = None,
    ) -> None:
        self._port = port
        self._path = None if data is None else data / "telemetry.db"
        self._token = token
        self._control_port = control_port
        self._stack = ExitStack()
        self.key = str(uuid.UUID(key)) if key else _kept_key(data)
        self.faults = Faults()
        self.store: EnvelopeStore | None = None

    def start(self) -> None:
        """Open what is kept and begin to serve.

        Raises:
          OSError: A port is taken.
          sqlite3.OperationalError: The folder's file cannot be used.
        """
        with ExitStack() as stack:
            store = self.store = EnvelopeStore(self._path)
            stack.callback(store.close)
            app = MonitorApp(store, self.faults, self.key, self._token)
            self._port = stack.enter_context(serving(app, "monitor-emulator", self._port))
            if self._control_port is not None:
                control = Control(app, self.faults, store).app
                self._control_port = stack.enter_context(
                    serving(control, "monitor-control", self._control_port)
                )
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop serving; without a folder, what was taken is gone."""
        self._stack.close()

    @property
    def endpoint(self) -> str:
        """The resource's address."""
        return f"http://127.0.0.1:{self._port}/"

    @property
    def control_url(self) -> str:
        """The address of the control interface."""
        return f"http://127.0.0.1:{self._control_port}"

    @property
    def connection_string(self) -> str:
        """The resource's key and addresses, as the exporter takes them."""
        return f"InstrumentationKey={self.key};IngestionEndpoint={self.endpoint};LiveEndpoint={self.endpoint}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _kept_key(data: Path | None) -> str:
    """Give the key that a folder keeps, made when there is none."""
    made = str(uuid.uuid4())
    if data is None:
        return made
    path = data / "instrumentation.key"
    if path.exists():
        return path.read_text()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(made)
    return made
