"""The ingestion endpoint as an ASGI application."""

import asyncio
from collections import Counter
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from ops.emulators.http_exchange import hang_up, read_body
from ops.emulators.http_faults import happen
from ops.emulators.monitor.envelope import BadBody, BadItem, JsonObject, check, read_items
from ops.emulators.monitor.faults import PARTIAL, TRICKLE, Fault, Faults, Refused, refused_items
from ops.emulators.monitor.store import EnvelopeStore

#: Where exporters of different ages send to.
PATHS: Final = frozenset({"/v2.1/track", "/v2/track", "/2020-09-15_Preview/track"})

#: Of a body, as it comes and when it is expanded.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


class MonitorApp:
    """One resource's endpoint: ``POST /v2.1/track``.

    Parameters:
      store: Keeps what is taken.
      faults: What goes wrong.
      key: The instrumentation key.
      token: The bearer token that is demanded; None: the key alone lets in, as where local authentication
        is not switched off.
    """

    def __init__(self, store: EnvelopeStore, faults: Faults, key: str, token: str | None = None) -> None:
        self._store = store
        self._faults = faults
        self._key = key
        self._token = token
        self.usage: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await read_body(receive, MAX_BODY_BYTES)
        if body is None:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        extra: dict[str, str] = {}
        faults = self._faults.happening("track", "")
        try:
            answered = await self._answer(scope["method"], scope["path"], headers, body, faults)
        except (Refused, BadBody) as error:
            answered = (
                error.status,
                _body(0, [{"index": 0, "statusCode": error.status, "message": str(error)}]),
            )
            extra = error.headers if isinstance(error, Refused) else {}
        if answered is None:
            hang_up(scope)
            return
        status, content = answered
        self.usage[str(status)] += 1
        raw = {"content-type": "application/json", "content-length": str(len(content)), **extra}
        listed = [(name.encode(), value.encode("latin-1")) for name, value in raw.items()]
        await send({"type": "http.response.start", "status": status, "headers": listed})
        for fault in faults:
            if fault.kind == TRICKLE:
                content = await _trickle(content, fault.seconds, send)
        await send({"type": "http.response.body", "body": content})

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes, faults: list[Fault]
    ) -> tuple[int, bytes] | None:
        """Take what was sent; None drops the connection instead."""
        # endpoints end with a slash, to which the exporter adds another
        if path.replace("//", "/") not in PATHS:
            raise Refused(404, "There is nothing here.")
        if method != "POST":
            raise Refused(405, "Telemetry is sent by POST.")
        if self._token is not None and headers.get("authorization") != f"Bearer {self._token}":
            raise Refused(401, "The resource takes tokens of Entra ID only.")
        of_requests = [fault for fault in faults if fault.kind not in {PARTIAL, TRICKLE}]
        if await happen(of_requests, "before", ""):
            return None
        items = read_items(body, headers.get("content-encoding", ""), MAX_BODY_BYTES)
        answer = self._take(items, refused_items(faults, len(items)))
        if await happen(of_requests, "after", ""):
            return None
        return answer

    def _take(self, items: list[object], refused: dict[int, int]) -> tuple[int, bytes]:
        taken: list[JsonObject] = []
        errors: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            try:
                envelope = check(item, self._key)
            except BadItem as error:
                errors.append({"index": index, "statusCode": error.status, "message": error.message})
                continue
            if index in refused:
                status = refused[index]
                errors.append({"index": index, "statusCode": status, "message": "A fault was injected."})
                continue
            taken.append(envelope)
        self._store.add(taken)
        self.usage["items_accepted"] += len(taken)
        self.usage["items_refused"] += len(errors)
        if not errors:
            return 200, _body(len(items), [])
        status = 206 if taken or any(error["statusCode"] != 400 for error in errors) else 400
        return status, _body(len(items), errors)


async def _trickle(content: bytes, seconds: float, send: Send) -> bytes:
    """Send all of an answer but its last byte, and give that."""
    for at in range(len(content) - 1):
        await send({"type": "http.response.body", "body": content[at : at + 1], "more_body": True})
        await asyncio.sleep(seconds)
    return content[-1:]


def _body(received: int, errors: list[dict[str, Any]]) -> bytes:
    accepted = received - len(errors) if received else 0
    return orjson.dumps({"itemsReceived": received, "itemsAccepted": accepted, "errors": errors})
