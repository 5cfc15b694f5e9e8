"""Azure Resource Manager as an ASGI application: reads requests, lets faults happen, writes answers."""

import hmac
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from ops.emulators.arm.address import Address, parse_path
from ops.emulators.arm.errors import ArmError, outside_subset
from ops.emulators.arm.faults import Faults
from ops.emulators.arm.gateway import Gateway
from ops.emulators.arm.request import (
    API_VERSION,
    MAX_BODY_BYTES,
    OPERATION_API_VERSION,
    Answer,
    Request,
    check_version,
)
from ops.emulators.http_exchange import hang_up, read_body
from ops.emulators.http_faults import happen

_METHODS: Final = {
    ("groups", "GET"): "list",
    ("group", "GET"): "get",
    ("group", "PUT"): "create",
    ("group", "PATCH"): "update",
    ("group", "DELETE"): "delete",
    ("logs", "GET"): "logs",
    ("operation", "GET"): "operation",
    ("usages", "GET"): "usages",
}


class ArmApp:
    """The endpoint.

    Parameters:
      gateway: Answers the requests.
      subscription: The only one that there is.
      resource_groups: Those that there are in it.
      token: The bearer token that is demanded; None: none is.
      faults: What goes wrong.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        subscription: str,
        resource_groups: list[str],
        token: str | None,
        faults: Faults,
    ) -> None:
        self._gateway = gateway
        self._subscription = subscription
        self._resource_groups = {name.lower() for name in resource_groups}
        self._token = token
        self._faults = faults
        self.requests: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await read_body(receive, MAX_BODY_BYTES)
        if body is None:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            answer = await self._answer(self._read(scope, headers, body))
        except ArmError as error:
            answer = Answer(error.status, error.body, error.headers)
        if answer.status:
            await _send(send, answer)
        else:
            hang_up(scope)

    def _read(self, scope: Scope, headers: Mapping[str, str], body: bytes) -> Request:
        self._authenticate(headers.get("authorization", ""))
        address = parse_path(scope["raw_path"].decode("latin-1"))
        method = scope["method"]
        action = method == "POST" and address.kind == "action"
        operation = address.action.lower() if action else _METHODS.get((address.kind, method), "")
        if not operation:
            raise outside_subset(f"{method} {address.kind}")
        query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
        check_version(query, OPERATION_API_VERSION if operation == "operation" else API_VERSION)
        if len(body) > MAX_BODY_BYTES:
            raise ArmError(413, "RequestEntityTooLarge", "The request content is over 4 MB.")
        self._require_scope(address)
        return Request(operation, address, query, f"{scope['scheme']}://{headers.get('host', '')}", body)

    def _authenticate(self, header: str) -> None:
        if self._token is None:
            return
        kind, _, shown = header.partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer authorization_uri="https://login.windows.net/"'}
        if kind.lower() != "bearer":
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ArmError(401, "AuthenticationFailed", message, challenge)
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.", challenge)

    def _require_scope(self, address: Address) -> None:
        if address.subscription.lower() != self._subscription.lower():
            message = f"The subscription '{address.subscription}' could not be found."
            raise ArmError(404, "SubscriptionNotFound", message)
        if address.resource_group and address.resource_group.lower() not in self._resource_groups:
            message = f"Resource group '{address.resource_group}' could not be found."
            raise ArmError(404, "ResourceGroupNotFound", message)

    async def _answer(self, request: Request) -> Answer:
        """Answer a request, if no fault does."""
        self.requests[request.operation] += 1
        faults = self._faults.answering(request.operation, request.address.name)
        if await happen(faults, "before", request.address.name):
            return Answer(0)
        answer = await self._gateway.answer(request)
        if await happen(faults, "after", request.address.name):
            return Answer(0)
        return answer


async def _send(send: Send, answer: Answer) -> None:
    body = b"" if answer.body is None else orjson.dumps(answer.body)
    request_id = str(uuid.uuid4())
    headers = {
        **({} if answer.body is None else {"content-type": "application/json; charset=utf-8"}),
        **({} if answer.status == 204 else {"content-length": str(len(body))}),
        "x-ms-request-id": request_id,
        "x-ms-correlation-request-id": request_id,
        **{name.lower(): value for name, value in answer.headers.items()},
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
