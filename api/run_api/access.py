"""Who asks: a run, with the token that it alone was given."""

from starlette.requests import Request

from api.requests import bearer_token, platform
from lightning.domain.run_tokens import RunAccess


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
