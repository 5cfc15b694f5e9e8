"""How the command line reaches the installation of this directory: its address and its first user."""

import asyncio
import json
import secrets
import time
from contextlib import suppress
from pathlib import Path

from lightning.client import AsyncClient, Client, ClientError
from lightning.domain.accounts import Accounts
from lightning.domain.usernames import account_id_of
from lightning.errors import Conflict
from lightning.keys import write_private
from lightning.settings import Settings
from lightning.storage import open_storage

FILE = "first_user.json"


def first_user(data: Path) -> tuple[str, str]:
    """Give name and password of the first user; made once and kept in the data directory."""
    path = data / FILE
    if not path.exists():
        write_private(path, json.dumps({"username": "first", "password": secrets.token_urlsafe(18)}))
    kept = json.loads(path.read_text())
    return kept["username"], kept["password"]


def make_first_user(settings: Settings) -> str:
    """Make the account of the first user, in the store itself: so it is there whoever else may register.

    Returns:
      The username.

    Raises:
      LightningError: The store does not answer.
    """
    username, password = first_user(settings.data)
    asyncio.run(_register(settings, username, password))
    return username


async def _register(settings: Settings, username: str, password: str) -> None:
    storage = open_storage(settings)
    try:
        accounts = Accounts(storage)
        # looked for first: the hash of a password that is not needed would take a moment at every start
        if await accounts.read(account_id_of(username)) is None:
            with suppress(Conflict):
                await accounts.register(username, password)
    finally:
        await storage.close()


def wait_until_ready(url: str, *, within_seconds: float = 30.0) -> None:
    """Wait until the ingress answers.

    Raises:
      ClientError: It does not come up.
    """
    deadline = time.monotonic() + within_seconds
    with Client(url) as client:
        while True:
            try:
                client.health()
            except ClientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


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
