"""The options that the commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lightning.client import AsyncClient, Client
from lightning.settings import from_environment
from ops.access import Access

Url = Annotated[
    str | None, typer.Option(help="Address of the ingress.", show_default="http://127.0.0.1:8000")
]
Data = Annotated[Path | None, typer.Option(help="Data directory.", show_default=".lightning")]
User = Annotated[
    str | None,
    typer.Option(help="Who speaks, as `lightning login` knows them.", show_default="the first user"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]
PageName = Annotated[str | None, typer.Option(help="The page that the one before names.")]
Event = Annotated[str, typer.Argument(help="Id of an event.")]


def access(url: str | None, data: Path | None, user: str | None = None) -> Access:
    """Tell who is meant, and which installation."""
    settings = from_environment(LIGHTNING_DATA=data)
    return Access((url or f"http://127.0.0.1:{settings.port}").rstrip("/"), settings.data, user)


def connect(url: str | None, data: Path | None, user: str | None) -> Client:
    """Speak as a user who is logged in, or as the first one."""
    return access(url, data, user).connect()


async def connect_async(url: str | None, data: Path | None, user: str | None) -> AsyncClient:
    """Speak as a user who is logged in, or as the first one, for asyncio."""
    return await access(url, data, user).connect_async()
