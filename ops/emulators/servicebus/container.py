"""The emulated namespace behind the wire: finds the node of a link, and who may have it."""

import asyncio
import uuid
from dataclasses import dataclass, field

from ops.emulators.servicebus.access import Grant, Grants, Policy
from ops.emulators.servicebus.codec.frames import AmqpError
from ops.emulators.servicebus.entities.errors import EntityError
from ops.emulators.servicebus.entities.namespace import Namespace, path_of, split_management
from ops.emulators.servicebus.faults import Faults
from ops.emulators.servicebus.nodes.claims import CBS, STATUS_NAMES, Claims
from ops.emulators.servicebus.nodes.management import Management
from ops.emulators.servicebus.nodes.queueing import EntitySink, QueueSource
from ops.emulators.servicebus.nodes.requests import RequestSink, ResponseSource
from ops.emulators.servicebus.nodes.striking import DETACHED, FORCED, refusal
from ops.emulators.servicebus.wire.connection import Connection
from ops.emulators.servicebus.wire.ports import Attach, Limits, Sink, Source, WireError, wire_error

SESSION_FILTER = "com.microsoft:session-filter"


@dataclass(slots=True)
class Client:
    """What is known of one connection."""

    grants: Grants = field(default_factory=Grants)
    responders: dict[str, list[ResponseSource]] = field(default_factory=dict[str, list[ResponseSource]])
    expiries: list[asyncio.TimerHandle] = field(default_factory=list[asyncio.TimerHandle])


class ServiceBusContainer:
    """One namespace and its clients.

    Parameters:
      namespace: The entities.
      policy: Who may use them.
      faults: What is to go wrong.
      limits: The bounds of connections.
    """

    def __init__(self, namespace: Namespace, *, policy: Policy, faults: Faults, limits: Limits) -> None:
        self.container_id = f"lightning-{uuid.uuid4().hex}"
        self.limits = limits
        self.namespace = namespace
        self.faults = faults
        self.clients: dict[Connection, Client] = {}
        self.is_alone = asyncio.Event()  #: set while there is no connection
        self.is_alone.set()
        self.policy = policy
        self._management = Management(namespace, faults, max_message_size=limits.max_message_size)
        self._claims = Claims(policy, self._grant)

    def connected(self, connection: Connection) -> None:
        """Know a connection."""
        self.clients[connection] = Client()
        self.is_alone.clear()

    def disconnected(self, connection: Connection) -> None:
        """Forget a connection."""
        for expiry in self.clients.pop(connection).expiries:
            expiry.cancel()
        if not self.clients:
            self.is_alone.set()

    def authenticate(self, connection: Connection, mechanism: str, response: bytes) -> bool:
        """Accept a SASL exchange: PLAIN is checked here, the others put a token afterwards."""
        if mechanism != "PLAIN":
            return True
        is_good = self.policy.check_plain(response)
        if is_good:
            self._grant(connection, Grant("", float("inf")))
        return is_good

    def sink(self, connection: Connection, attach: Attach) -> Sink:
        """Give the entity, management node or ``$cbs`` that an address sends to."""
        path = path_of(attach.address)
        if path.lower() == CBS:
            responders = self._responders(connection, CBS)
            return RequestSink(
                connection, CBS, responders=responders, handle=self._claims, status_names=STATUS_NAMES
            )
        entity, is_management = split_management(path)
        try:
            self._admit(connection, entity)
            if is_management:
                self.namespace.managed(entity)
                responders = self._responders(connection, path)
                return RequestSink(connection, entity, responders=responders, handle=self._management)
            self.namespace.target(entity)
        except EntityError as error:
            raise WireError(AmqpError(error.condition, error.description)) from error
        return EntitySink(self.namespace, entity, self.faults)

    def source(self, connection: Connection, attach: Attach) -> Source:
        """Give the entity, management node or ``$cbs`` that an address receives from."""
        path = path_of(attach.address)
        if path.lower() == CBS:
            return self._responder(connection, CBS, attach)
        if SESSION_FILTER in attach.filters:
            raise wire_error("amqp:not-implemented", "Sessions are not emulated: receive without one.")
        entity, is_management = split_management(path)
        try:
            self._admit(connection, entity)
            if is_management:
                self.namespace.managed(entity)
                return self._responder(connection, path, attach)
            queue = self.namespace.source(entity)
        except EntityError as error:
            raise WireError(AmqpError(error.condition, error.description)) from error
        return QueueSource(self.namespace, queue, deletes=attach.is_settled, faults=self.faults)

    def close_all(self, how: str = "forced-close", entity: str | None = None) -> int:
        """Break connections, or links, that are there now.

        Parameters:
          how: ``forced-close``, ``drop`` or ``detach``.
          entity: The path that a link must use; None: any.

        Returns:
          How many were broken.
        """
        broken = 0
        for connection in tuple(self.clients):
            links = [
                link
                for session in connection.sessions.values()
                for link in session.links.values()
                if entity is None or (path_used(link) or "").lower() == entity.lower()
            ]
            if how == "detach":
                for link in links:
                    link.detach(DETACHED)
                broken += len(links)
            elif links or entity is None:
                broken += 1
                if how == "drop":
                    connection.abort()
                else:
                    connection.close(FORCED)
        return broken

    def _admit(self, connection: Connection, path: str) -> None:
        fault = self.faults.strike("attach", path)
        if fault is not None:
            if fault.kind == "drop":
                connection.abort()
            elif fault.kind == "forced-close":
                connection.close(FORCED)
            raise refusal(fault, path)
        if self.policy.key is not None and not self.clients[connection].grants.cover(path):
            raise wire_error(
                "amqp:unauthorized-access",
                f"Unauthorized access to '{path}': put a token for it to $cbs first. Its resource must be "
                "the entity or the namespace.",
            )

    def _responders(self, connection: Connection, path: str) -> list[ResponseSource]:
        return self.clients[connection].responders.setdefault(path.lower(), [])

    def _responder(self, connection: Connection, path: str, attach: Attach) -> ResponseSource:
        responders = self._responders(connection, path)
        responder = ResponseSource(attach.reply_to, responders.remove)
        responders.append(responder)
        return responder

    def _grant(self, connection: Connection, grant: Grant) -> None:
        client = self.clients[connection]
        client.grants.add(grant)
        if grant.until != float("inf"):
            loop = asyncio.get_running_loop()
            rest = grant.until - self.namespace.clock.now()
            client.expiries.append(loop.call_later(max(0.0, rest) + 0.001, self._expire, connection))

    def _expire(self, connection: Connection) -> None:
        """Detach the links whose token has ended."""
        client = self.clients.get(connection)
        if client is None:
            return
        error = AmqpError("amqp:unauthorized-access", "ExpiredToken: The token is expired.")
        for session in tuple(connection.sessions.values()):
            for link in tuple(session.links.values()):
                path = path_used(link)
                if path is not None and not client.grants.cover(path):
                    link.detach(error)


def path_used(link: object) -> str | None:
    """Give the entity that a link uses; None for ``$cbs`` and for links that only carry responses."""
    node = getattr(link, "sink", None) or getattr(link, "source", None)
    path = getattr(node, "path", None)
    return path if isinstance(path, str) and path != CBS else None
