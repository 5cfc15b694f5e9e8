"""What the emulators that speak HTTP share of their control interface, which has a port of its own."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops.emulators.http_faults import HttpFault, HttpFaults

F = TypeVar("F", bound=HttpFault)


class HttpControl(Generic[F]):
    """Changes how an emulator behaves while it runs.

    ``POST /faults`` takes the fields of a fault, ``GET`` lists them with how often each happened and
    ``DELETE`` takes all away. ``GET /usage`` tells what was asked, ``DELETE`` begins anew.

    Parameters:
      faults: Those of the emulator.
      routes: What else it takes.
    """

    def __init__(self, faults: HttpFaults[F], routes: Sequence[Route] = ()) -> None:
        self._faults = faults
        self.app = Starlette(
            routes=[
                Route("/faults", self._list_faults),
                Route("/faults", self._add_fault, methods=["POST"]),
                Route("/faults", self._clear_faults, methods=["DELETE"]),
                Route("/usage", self._usage),
                Route("/usage", self._forget_usage, methods=["DELETE"]),
                *routes,
            ]
        )

    def usage(self) -> dict[str, Any]:
        """Tell what was asked."""
        raise NotImplementedError

    def forget_usage(self) -> None:
        """Count from nothing."""
        raise NotImplementedError

    async def _list_faults(self, _request: Request) -> Response:
        return as_json(self._faults.as_json())

    async def _add_fault(self, request: Request) -> Response:
        try:
            fault = self._faults.add(**await values_of(request))
        except (TypeError, ValueError) as error:
            return as_json({"error": str(error)}, status=400)
        return as_json(fault.as_json(), status=201)

    async def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def _usage(self, _request: Request) -> Response:
        return as_json(self.usage())

    async def _forget_usage(self, _request: Request) -> Response:
        self.forget_usage()
        return Response(status_code=204)


async def values_of(request: Request) -> dict[str, Any]:
    """Read a request's body.

    Raises:
      TypeError: It is no JSON object.
      ValueError: It is no JSON.
    """
    values = orjson.loads(await request.body())
    if not isinstance(values, dict):
        raise TypeError("the body must be a JSON object")
    return cast("dict[str, Any]", values)


def as_json(value: object, *, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")
