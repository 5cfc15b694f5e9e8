"""Who asks: a run, with the token that it alone was given."""

from starlette.requests import Request

from api.requests import bearer_token, platform
from lightning.domain.run_tokens import RunAccess


async def run_access(request: Request) -> RunAccess:
    """Tell which run asks.

    Raises:
      Unauthorized: There is no bearer token (``token_missing``), or none of a run that goes on
        (``invalid_token``).
      Transient: The store does not answer.
    """
    return await platform(request).run_tokens.check(bearer_token(request, "from LIGHTNING_RUN_TOKEN"))
