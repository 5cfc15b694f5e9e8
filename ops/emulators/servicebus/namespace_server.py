"""The listening side of an emulator, inside a running loop."""

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path

from ops.emulators.servicebus.access import Policy
from ops.emulators.servicebus.administration import Front
from ops.emulators.servicebus.container import ServiceBusContainer
from ops.emulators.servicebus.control import Control
from ops.emulators.servicebus.durable import open_store
from ops.emulators.servicebus.entities.clock import Clock
from ops.emulators.servicebus.entities.namespace import Declarations, Namespace
from ops.emulators.servicebus.entities.store import MemoryStore
from ops.emulators.servicebus.faults import Fault, Faults
from ops.emulators.servicebus.wire.connection import Connection
from ops.emulators.servicebus.wire.delay import Latency
from ops.emulators.servicebus.wire.ports import Limits

HOST = "127.0.0.1"
BACKLOG = 1024
#: The key that Microsoft's own emulator shows; it opens everything, since none is checked.
UNCHECKED_KEY = "SAS_KEY_VALUE"
#: How long connections have to say goodbye when the emulator stops.
STOP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """How an emulator is set up.

    Parameters:
      port: The AMQP port; 0 takes a free one.
      control_port: The port of the control API; 0 takes a free one, None: there is no control API.
      data: The folder in which messages outlive the process; None: they do not.
      policy: Who may use the namespace.
      declarations: The entities.
      limits: The bounds of connections.
      latency: How much later data come, each way.
      faults: What is to go wrong from the start.
    """

    port: int = 0
    control_port: int | None = None
    data: Path | None = None
    policy: Policy = field(default_factory=Policy)
    declarations: Declarations = field(default_factory=Declarations)
    limits: Limits = field(default_factory=Limits)
    latency: tuple[float, float] = (0.0, 0.0)
    faults: tuple[Fault, ...] = ()


def connection_string(port: int, policy: Policy) -> str:
    """Give what a client needs.

    Parameters:
      port: The AMQP port.
      policy: Who may use the namespace.
    """
    return (
        f"Endpoint=sb://{HOST}:{port};SharedAccessKeyName={policy.name};"
        f"SharedAccessKey={policy.key or UNCHECKED_KEY};UseDevelopmentEmulator=true"
    )


class NamespaceServer:
    """Accepts connections to one emulated namespace.

    Parameters:
      options: How it is set up.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._store = MemoryStore() if options.data is None else open_store(options.data)
        self._clock = Clock()
        namespace = Namespace(options.declarations, clock=self._clock, store=self._store)
        self.faults = Faults()
        for fault in options.faults:
            self.faults.add(fault)
        self.latency = Latency(*options.latency)
        self.container = ServiceBusContainer(
            namespace, policy=options.policy, faults=self.faults, limits=options.limits
        )
        self._holder = socket.socket()
        self._server: asyncio.Server | None = None
        self._control: Control | None = None

    @property
    def port(self) -> int:
        """The AMQP port."""
        return self._holder.getsockname()[1]

    @property
    def connection_string(self) -> str:
        """What a client needs."""
        return connection_string(self.port, self._options.policy)

    @property
    def control_url(self) -> str | None:
        """The address of the control API."""
        return None if self._control is None else self._control.url

    async def start(self) -> None:
        """Listen.

        Raises:
          OSError: The port is taken.
        """
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise

    async def _listen(self) -> None:
        if not isinstance(self._store, MemoryStore):
            self._store.restore(self.container.namespace)
        # Bound and never listening: it keeps the port while connections are refused.
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((HOST, self._options.port))
        await self.accept_connections(accepting=True)
        if self._options.control_port is not None:
            self._control = Control(self)
            await self._control.start(self._options.control_port)

    async def accept_connections(self, *, accepting: bool) -> None:
        """Accept new connections, or have them refused."""
        if accepting and self._server is None:
            self._server = await self._loop.create_server(
                lambda: Front(lambda: Connection(self.container, self.latency), self.container),
                HOST,
                self.port,
                backlog=BACKLOG,
                reuse_address=True,
            )
        elif not accepting and self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        """Close the connections and the ports, and keep what is to be kept."""
        await self.accept_connections(accepting=False)
        if self._control is not None:
            await self._control.stop()
        self.container.close_all()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.container.is_alone.wait()
        except TimeoutError:
            for connection in tuple(self.container.clients):
                connection.abort()
            await self.container.is_alone.wait()
        self._clock.stop()
        if not isinstance(self._store, MemoryStore):
            await self._store.close()
        self._holder.close()
