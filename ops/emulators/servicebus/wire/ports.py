"""What the wire needs from whoever stands behind it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ops.emulators.servicebus.codec.frames import AmqpError
from ops.emulators.servicebus.codec.values import Described

if TYPE_CHECKING:
    from ops.emulators.servicebus.wire.connection import Connection
    from ops.emulators.servicebus.wire.incoming import Delivery
    from ops.emulators.servicebus.wire.outgoing import OutgoingLink


NO_TRANSACTIONS = AmqpError(
    "amqp:not-implemented", "Transactions are not emulated: send and settle without one."
)


class WireError(Exception):
    """The peer broke the protocol, or asked for what it cannot have.

    Parameters:
      error: What it is told.
    """

    def __init__(self, error: AmqpError) -> None:
        super().__init__(f"{error.condition}: {error.description}")
        self.error = error


def wire_error(condition: str, description: str) -> WireError:
    """Make an error from its condition and description."""
    return WireError(AmqpError(condition, description))


@dataclass(frozen=True, slots=True)
class Attach:
    """What a peer asks for when it attaches a link.

    Parameters:
      name: The link's name.
      address: The node: the source's address if the peer receives, else the target's.
      reply_to: The other terminus' address.
      is_receiver: Whether the peer receives.
      is_settled: Whether what it receives is settled as it is sent.
      filters: The source's filters, by name.
    """

    name: str
    address: str
    reply_to: str
    is_receiver: bool
    is_settled: bool
    filters: tuple[str, ...]


class Sink(Protocol):
    """Takes what a peer sends on a link."""

    def accept(self, delivery: "Delivery") -> None:
        """Take a whole message; `Delivery.settle` says, now or later, what became of it."""
        ...

    def close(self) -> None:
        """The link is gone."""
        ...


class Source(Protocol):
    """Gives what a peer receives on a link."""

    def start(self, link: "OutgoingLink") -> None:
        """The link is attached; from now on messages may be sent on it."""
        ...

    def more(self) -> None:
        """The link can take messages (again)."""
        ...

    def settle(self, settlement: "Settlement") -> None:
        """The peer settles a delivery."""
        ...

    def close(self) -> None:
        """The link is gone."""
        ...


@dataclass(slots=True)
class Settlement:
    """A peer's word on a delivery of ours.

    Parameters:
      link: The link that it was delivered on.
      delivery_id: Its id in the session.
      tag: Its tag.
      state: The outcome; None: accepted (3.4).
      is_settled: Whether the peer waits for no answer.
    """

    link: "OutgoingLink"
    delivery_id: int
    tag: bytes
    state: Described | None
    is_settled: bool

    def answer(self, state: bytes) -> None:
        """Settle on this side too, with the outcome that was reached."""
        if not self.is_settled:
            self.link.session.answer(self.delivery_id, state)


@dataclass(slots=True)
class Limits:
    """The bounds of connections; those of idleness may change, for links and connections made from then on.

    Parameters:
      max_frame_size: Bytes of a frame, either way.
      max_message_size: Bytes of a message, or of a batch.
      idle_timeout_seconds: How long a peer may be silent on a connection (2.4.5).
      link_idle_seconds: How long a link may go unused.
      no_link_seconds: How long a connection may have no link.
      first_link_seconds: The same, for a new connection.
      connection_idle_seconds: How long all links of a connection may go unused; None: for ever.
    """

    max_frame_size: int = 65_536
    max_message_size: int = 262_144
    idle_timeout_seconds: float = 240.0
    link_idle_seconds: float = 600.0
    no_link_seconds: float = 300.0
    first_link_seconds: float = 60.0
    connection_idle_seconds: float | None = None


class Container(Protocol):
    """The node container behind all connections."""

    container_id: str
    limits: Limits

    def connected(self, connection: "Connection") -> None:
        """A peer has connected."""
        ...

    def disconnected(self, connection: "Connection") -> None:
        """A peer's connection is gone."""
        ...

    def authenticate(self, connection: "Connection", mechanism: str, response: bytes) -> bool:
        """Tell whether a SASL exchange of one step succeeds."""
        ...

    def sink(self, connection: "Connection", attach: Attach) -> Sink:
        """Give the node that a peer wants to send to.

        Raises:
          WireError: It cannot have it.
        """
        ...

    def source(self, connection: "Connection", attach: Attach) -> Source:
        """Give the node that a peer wants to receive from.

        Raises:
          WireError: It cannot have it.
        """
        ...
