"""The gateway as an ASGI application: reads requests, lets faults happen, writes answers."""

import uuid
from collections import defaultdict
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from ops.emulators.cosmos.authorization import Authorization
from ops.emulators.cosmos.charges import LEAST
from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.faults import Faults
from ops.emulators.cosmos.gateway import Gateway, operation_of, require_size
from ops.emulators.cosmos.request import MAX_BODY_BYTES, Answer, Request, parse_path
from ops.emulators.http_exchange import hang_up, read_body
from ops.emulators.http_faults import happen

SERVICE_VERSION = "2.14.0"


@dataclass(slots=True)
class Usage:
    """How often an operation was asked for, and what it was charged."""

    count: int = 0
    charge: float = 0.0


class CosmosApp:
    """One account's endpoint.

    Parameters:
      gateway: Answers the requests.
      authorization: Decides who may ask.
      faults: What goes wrong.
    """

    def __init__(self, gateway: Gateway, authorization: Authorization, faults: Faults) -> None:
        self._gateway = gateway
        self._authorization = authorization
        self._faults = faults
        self.usage: defaultdict[str, Usage] = defaultdict(Usage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await read_body(receive, MAX_BODY_BYTES)
        if body is None:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            request = Request(scope["method"], parse_path(scope["raw_path"].decode("latin-1")), headers, body)
            answer = await self._answer(request, f"{scope['scheme']}://{headers.get('host', '')}/")
        except CosmosError as error:
            answer = Answer(error.status, orjson.dumps(error.body), dict(error.headers))
            answer.headers["x-ms-substatus"] = str(error.substatus)
        if answer.status:
            await _send(send, answer, headers.get("x-ms-activity-id"))
        else:
            hang_up(scope)

    async def _answer(self, request: Request, endpoint: str) -> Answer:
        """Answer a request; status 0 drops the connection instead."""
        self._authorization.check(request.method, request.address, request.headers)
        require_size(request.body)
        operation = operation_of(request)
        names = request.address.names
        container = names[1] if len(names) > 1 else ""
        faults = self._faults.happening(operation, container)
        if await happen(faults, "before", container):
            return Answer(0)
        usage = self.usage[operation]
        usage.count += 1
        try:
            answer = self._gateway.answer(request, operation, endpoint)
        except CosmosError:
            usage.charge += LEAST  # what is not there, or not so, has been looked for
            raise
        usage.charge += answer.charge
        if await happen(faults, "after", container):
            return Answer(0)
        return answer


async def _send(send: Send, answer: Answer, activity: str | None) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
        "x-ms-activity-id": activity or str(uuid.uuid4()),
        "x-ms-request-charge": f"{answer.charge:.2f}",
        "x-ms-serviceversion": SERVICE_VERSION,
        "x-ms-gatewayversion": SERVICE_VERSION,
        **answer.headers,
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})
