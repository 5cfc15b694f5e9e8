"""The ``$cbs`` node: takes tokens.

Source: Microsoft, "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide", claims-based authorization.
"""

from collections.abc import Callable

from ops.emulators.servicebus.access import Grant, Policy, TokenError
from ops.emulators.servicebus.nodes.requests import Request, RequestSink, Response
from ops.emulators.servicebus.wire.connection import Connection
from ops.emulators.servicebus.wire.incoming import Delivery

CBS = "$cbs"
STATUS_NAMES = ("status-code", "status-description")


class Claims:
    """Checks the tokens that clients put.

    Parameters:
      policy: What tokens are checked against.
      grant: What is told of each good one.
    """

    def __init__(self, policy: Policy, grant: Callable[[Connection, Grant], None]) -> None:
        self._policy = policy
        self._grant = grant

    def __call__(self, node: RequestSink, _delivery: Delivery, request: Request) -> None:
        """Answer a ``put-token``."""
        if request.properties.get("operation") != "put-token":
            node.respond(
                request, Response(400, "the only operation of $cbs is put-token", "amqp:not-allowed")
            )
            return
        try:
            grant = self._policy.check_token(request.body)
        except TokenError as error:
            node.respond(request, Response(401, str(error), "amqp:unauthorized-access"))
            return
        self._grant(node.connection, grant)
        node.respond(request, Response(202, "Accepted"))
