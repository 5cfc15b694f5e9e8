"""Who asks: a run, with the token that it alone was given."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import context, trace
from starlette.requests import Request

from api.requests import bearer_token, platform
from lightning.domain.run_tokens import RunAccess
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
