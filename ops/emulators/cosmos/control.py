"""The control interface, on a port of its own: faults, time, staleness and usage."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops.emulators.cosmos.app import CosmosApp
from ops.emulators.cosmos.clock import Clock
from ops.emulators.cosmos.container import Lag
from ops.emulators.cosmos.faults import Fault, Faults
from ops.emulators.http_control import HttpControl, as_json, values_of


class Control(HttpControl[Fault]):
    """Changes how the emulator behaves while it runs; see `HttpControl`.

    ``GET /usage`` counts requests and charges by operation. ``POST /clock {"advance_seconds"}`` lets items
    expire; ``POST /lag {"seconds", "writes"}`` says how far reads without a session token are behind.

    Parameters:
      app: What it counts the requests of.
      faults: Those in force.
      clock: By which items expire.
      lag: Of reads without a session token.
    """

    def __init__(self, app: CosmosApp, faults: Faults, clock: Clock, lag: Lag) -> None:
        routes = [
            Route("/clock", self._advance, methods=["POST"]),
            Route("/lag", self._set_lag, methods=["POST"]),
        ]
        super().__init__(faults, routes)
        self._cosmos = app
        self._clock = clock
        self._lag = lag

    def usage(self) -> dict[str, Any]:
        """Tell what was asked."""
        used = dict(self._cosmos.usage)
        return {name: {"count": each.count, "charge": round(each.charge, 2)} for name, each in used.items()}

    def forget_usage(self) -> None:
        """Count from nothing."""
        self._cosmos.usage.clear()

    async def _advance(self, request: Request) -> Response:
        try:
            self._clock.advance(float((await values_of(request))["advance_seconds"]))
        except (KeyError, TypeError, ValueError):
            return as_json({"error": "advance_seconds must be a number"}, status=400)
        return Response(status_code=204)

    async def _set_lag(self, request: Request) -> Response:
        try:
            lag = Lag(**await values_of(request))
        except (TypeError, ValueError) as error:
            return as_json({"error": str(error)}, status=400)
        self._lag.seconds, self._lag.writes = lag.seconds, lag.writes
        return Response(status_code=204)
