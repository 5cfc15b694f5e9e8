"""Long lists, a page at a time: where the reader is, as the address says it."""

from collections.abc import Generator
from contextlib import contextmanager

from starlette.requests import Request

from lightning.errors import InvalidRequest


def page_token(request: Request) -> str | None:
    """Give the token of the page that is asked for; None for the first."""
    return request.query_params.get("page") or None


@contextmanager
def pages_end() -> Generator[None]:
    """Tell whoever shows a token that is none of ours.

    Raises:
      InvalidRequest: It is none.
    """
    try:
        yield
    except ValueError:
        raise InvalidRequest("there is no such page; begin with the first one") from None
