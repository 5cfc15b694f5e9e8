"""The emulated model as one ASGI application: the provider's endpoints and the control of its script."""

from collections.abc import Sequence

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ops.emulators.openai.completions import Completions
from ops.emulators.openai.journal import Journal
from ops.emulators.openai.line import Gate
from ops.emulators.openai.script import Script

#: The model that exists whatever the script says.
DEFAULT_MODEL = "scripted"


class ScriptedModel:
    """An OpenAI-compatible server that answers by a script. Run it by `serve`.

    Parameters:
      steps: The script: a list of objects with the fields of `Step`; empty echoes every request.
      key: The API key, or the token of an identity, that is demanded; None: none is.

    Raises:
      ValueError: A step has an unknown field or a wrong value; the text says which.
    """

    def __init__(self, steps: Sequence[object] = (), *, key: str | None = None) -> None:
        self._script = Script(steps)
        self._journal = Journal()
        self._gate = Gate()
        completions = Completions(
            script=lambda: self._script, journal=self._journal, gate=self._gate, key=key
        )
        self._app = Starlette(
            routes=[
                Route("/v1/chat/completions", completions, methods=["POST"]),
                Route("/openai/v1/chat/completions", completions, methods=["POST"]),
                Route("/openai/deployments/{deployment}/chat/completions", completions, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/control/script", self._replace_script, methods=["POST"]),
                Route("/control/requests", self._requests),
                Route("/control/requests", self._forget_requests, methods=["DELETE"]),
                Route("/control/held", self._held),
                Route("/control/release", self._release, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        await self._app(scope, receive, send)

    async def _models(self, _request: Request) -> Response:
        names = {DEFAULT_MODEL} | {step.model for step in self._script.steps if step.model}
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "lightning"} for name in sorted(names)
        ]
        return _json({"object": "list", "data": models})

    async def _replace_script(self, request: Request) -> Response:
        """Put another script in force; requests that are being answered keep their step."""
        try:
            self._script = Script(orjson.loads(await request.body()))
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        return _json({"steps": len(self._script.steps)})

    async def _requests(self, request: Request) -> Response:
        wants_summary = request.query_params.get("summary") == "1"
        return _json(self._journal.summary() if wants_summary else self._journal.as_json())

    async def _forget_requests(self, _request: Request) -> Response:
        self._journal.clear()
        return Response(status_code=204)

    async def _held(self, _request: Request) -> Response:
        return _json({"held": self._gate.held})

    async def _release(self, request: Request) -> Response:
        """Let the longest held answers go on, all or ``?count=``, but for the first ``?keep=``."""
        given = {name: request.query_params.get(name) for name in ("count", "keep")}
        for name, number in given.items():
            if number is not None and not number.isdecimal():
                return _json({"error": f"{name} must be a whole number"}, status=400)
        count, keep = (None if number is None else int(number) for number in given.values())
        return _json({"released": self._gate.release(count, keep=keep or 0)})


def _json(value: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
