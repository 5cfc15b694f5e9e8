"""Whose request is being answered: set around each one, and inherited by all that it begins."""

from contextvars import ContextVar
from dataclasses import dataclass

from api.chat.sessions import Session, Sessions
from lightning.client import AsyncClient, ClientError


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, or a WebSocket with all that it carries.

    Parameters:
      sessions: Who is logged in to this chat.
      session: Whose request it is; None before the log-in.
      pages: Where the ingress's own pages are, as browsers find them.
      forwarded_for: Whose request it is, by addresses, as ``X-Forwarded-For`` tells them.
    """

    sessions: Sessions
    session: Session | None
    pages: str
    forwarded_for: str


#: The visit of this task.
current: ContextVar[Visit] = ContextVar("visit")


def session() -> Session:
    """Give the session of this visit.

    Raises:
      ClientError: Nobody is logged in.
    """
    found = current.get().session
    if found is None:
        raise ClientError("your session is over; log in again", status=401, code="invalid_token")
    return found


def client() -> AsyncClient:
    """Give the client that speaks as the user of this visit; see `session`."""
    return session().client


def event_page(event_id: str) -> str:
    """Give the address of the page that shows an event with its trace."""
    return f"{current.get().pages}/dashboard/events/{event_id}"
