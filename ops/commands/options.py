"""The options that the commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lightning.client import AsyncClient, Client
from lightning.settings import from_environment
from ops import access

Url = Annotated[
    str | None, typer.Option(help="Address of the ingress.", show_default="http://127.0.0.1:8000")
]
Data = Annotated[Path | None, typer.Option(help="Data directory.", show_default=".lightning")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Event = Annotated[str, typer.Argument(help="Id of an event.")]


def where(url: str | None, data: Path | None) -> tuple[str, Path]:
    """Give the address and the data directory that are meant."""
    settings = from_environment(LIGHTNING_DATA=data)
    return url or f"http://127.0.0.1:{settings.port}", settings.data


def connect(url: str | None, data: Path | None) -> Client:
    """Log in as the first user."""
    return access.connect(*where(url, data))


async def connect_async(url: str | None, data: Path | None) -> AsyncClient:
    """Log in as the first user, for asyncio."""
    return await access.connect_async(*where(url, data))
