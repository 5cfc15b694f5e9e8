"""How the command line reaches the installation of this directory: its address and its first user."""

import json
import secrets
import time
from pathlib import Path

from lightning.client import AsyncClient, Client, ClientError
from lightning.keys import write_private

FILE = "first_user.json"


def first_user(data: Path) -> tuple[str, str]:
    """Give name and password of the first user; made once and kept in the data directory."""
    path = data / FILE
    if not path.exists():
        write_private(path, json.dumps({"username": "first", "password": secrets.token_urlsafe(18)}))
    kept = json.loads(path.read_text())
    return kept["username"], kept["password"]


def make_first_user(url: str, data: Path, *, within_seconds: float = 30.0) -> str:
    """Register the first user as soon as the ingress is ready.

    Returns:
      The username.

    Raises:
      ClientError: The ingress does not come up, or registers nobody.
    """
    username, password = first_user(data)
    deadline = time.monotonic() + within_seconds
    with Client(url) as client:
        while True:
            try:
                client.health()
                break
            except ClientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        try:
            client.register(username, password)
        except ClientError as error:
            if error.status != 409:
                raise
    return username


def connect(url: str, data: Path) -> Client:
    """Log in as the first user.

    Raises:
      ClientError: Nothing listens there, or the installation is another one.
    """
    name, password = _known_user(data)
    client = Client(url)
    try:
        client.log_in(name, password)
    except ClientError as error:
        client.close()
        raise _explained(error, url, data) from error
    return client


async def connect_async(url: str, data: Path) -> AsyncClient:
    """Log in as the first user; see `connect`."""
    name, password = _known_user(data)
    client = AsyncClient(url)
    try:
        await client.log_in(name, password)
    except ClientError as error:
        await client.aclose()
        raise _explained(error, url, data) from error
    return client


def _known_user(data: Path) -> tuple[str, str]:
    if not (data / FILE).exists():
        raise ClientError(f"{data} knows no first user; start `lightning up`, or give its --data")
    return first_user(data)


def _explained(error: ClientError, url: str, data: Path) -> ClientError:
    if error.code != "wrong_credentials":
        return error
    return ClientError(
        f"{url} does not know the first user of {data}; give the --data of that installation",
        status=error.status,
        code=error.code,
    )
