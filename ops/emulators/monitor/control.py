"""The control interface, on a port of its own: what was taken, faults and usage."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops.emulators.http_control import HttpControl, as_json
from ops.emulators.monitor.app import MonitorApp
from ops.emulators.monitor.faults import Fault, Faults
from ops.emulators.monitor.store import EnvelopeStore
from ops.emulators.monitor.tables import TABLES


class Control(HttpControl[Fault]):
    """Shows what the emulator took, and changes how it behaves; see `HttpControl`.

    ``GET /envelopes[?base_type=&operation_id=]`` lists envelopes as they came, ``DELETE`` forgets them.
    ``GET /tables/{table}[?operation_id=]`` lists the rows of a table, such as ``requests``. ``GET /usage``
    counts answers by status, and items.

    Parameters:
      app: What it counts the requests of.
      faults: Those in force.
      store: What was taken.
    """

    def __init__(self, app: MonitorApp, faults: Faults, store: EnvelopeStore) -> None:
        routes = [
            Route("/envelopes", self._envelopes),
            Route("/envelopes", self._forget, methods=["DELETE"]),
            Route("/tables/{table}", self._table),
        ]
        super().__init__(faults, routes)
        self._monitor = app
        self._store = store

    def usage(self) -> dict[str, Any]:
        """Tell what was asked."""
        return dict(self._monitor.usage)

    def forget_usage(self) -> None:
        """Count from nothing."""
        self._monitor.usage.clear()

    async def _envelopes(self, request: Request) -> Response:
        wanted = {name: request.query_params.get(name, "") for name in ("base_type", "operation_id")}
        return as_json(self._store.envelopes(**wanted))

    async def _forget(self, _request: Request) -> Response:
        self._store.clear()
        return Response(status_code=204)

    async def _table(self, request: Request) -> Response:
        table = request.path_params["table"]
        if table not in TABLES:
            return as_json({"error": f"the tables are {', '.join(TABLES)}"}, status=404)
        columns, found = self._store.query(
            f"SELECT * FROM {table} WHERE ? IN ('', operation_Id) ORDER BY timestamp, position",  # noqa: S608 -- one of ours
            (request.query_params.get("operation_id", ""),),
        )
        return as_json([dict(zip(columns, row, strict=True)) for row in found])
