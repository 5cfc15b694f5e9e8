"""Who asks: a run, with the token that it alone was given."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import context, trace
from starlette.requests import Request

from api.requests import MAX_BODY_BYTES, Form, bearer_token, checked, platform, read_body
from lightning.domain.run_tokens import RunAccess, without_tokens
from lightning.strict_json import Json, loads
from lightning.telemetry import carrier


async def run_access(request: Request) -> RunAccess:
    """Tell which run asks.

    Raises:
      Unauthorized: There is no bearer token (``token_missing``), or none of a run that goes on
        (``invalid_token``).
      RunRateLimited: It calls too often.
      Transient: The store does not answer.
    """
    parts = platform(request)
    run, claims = parts.run_tokens.verify(bearer_token(request, "from LIGHTNING_RUN_TOKEN"))
    parts.run_rates.count(run)  # before the store is asked anything
    return await parts.run_tokens.check(claims)


async def read_said(request: Request, *, max_bytes: int = MAX_BODY_BYTES) -> Json:
    """Read what a run says as strict JSON, without the tokens of runs in it.

    Raises:
      InvalidRequest: It is no JSON of ours; ``code`` says how.
    """
    return loads(without_tokens(await read_body(request, max_bytes=max_bytes)), max_bytes=max_bytes)


async def read_form(request: Request, form: type[Form]) -> Form:
    """Read what a run says as a form, without the tokens of runs in it.

    Raises:
      InvalidRequest: It is no JSON of ours.
      InvalidEvent: A field is missing, unknown or wrong (``invalid_field``).
    """
    return checked(await read_said(request), form)


@contextmanager
def in_its_trace(access: RunAccess) -> Generator[None]:
    """Have what is done belong to the trace of a run, also where the caller named none, or another.

    Parameters:
      access: Which run.
    """
    own = carrier.parent(access.trace)
    called = trace.get_current_span().get_span_context()
    if called.trace_id == trace.get_current_span(own).get_span_context().trace_id:
        yield
        return
    token = context.attach(own)
    try:
        yield
    finally:
        context.detach(token)
