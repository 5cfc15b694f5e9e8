"""How the command line reaches an installation: who speaks, and the session that is kept for them."""

import asyncio
import json
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning.client import AsyncClient, Client, ClientError, SessionFile
from lightning.domain.accounts import Accounts
from lightning.domain.usernames import account_id_of
from lightning.errors import Conflict
from lightning.private_files import write_private
from lightning.settings import Settings
from lightning.storage import open_storage

FILE = "first_user.json"
NAME = "first"


def first_user(data: Path) -> tuple[str, str]:
    """Give name and password of the first user; made once and kept in the data directory."""
    path = data / FILE
    if not path.exists():
        write_private(path, json.dumps({"username": NAME, "password": secrets.token_urlsafe(18)}))
    kept = json.loads(path.read_text())
    return kept["username"], kept["password"]


def make_first_user(settings: Settings) -> str:
    """Make the account of the first user, in the store itself: so it is there whoever else may register.

    An account that is there already keeps its password, so none is written down where there is no file.

    Returns:
      The username.

    Raises:
      LightningError: The store does not answer.
    """
    username = first_user(settings.data)[0] if knows_first_user(settings.data) else NAME
    asyncio.run(_register(settings, username))
    return username


def knows_first_user(data: Path) -> bool:
    """Tell whether the password of the first user is kept in the data directory."""
    return (data / FILE).exists()


async def _register(settings: Settings, username: str) -> None:
    storage = open_storage(settings)
    try:
        accounts = Accounts(storage)
        # looked for first: the hash of a password that is not needed would take a moment at every start
        if await accounts.read(account_id_of(username)) is None:
            with suppress(Conflict):
                await accounts.register(*first_user(settings.data))
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


@dataclass(frozen=True, slots=True)
class Access:
    """Who speaks, and where.

    Parameters:
      url: Where the ingress listens.
      data: The data directory.
      user: A username; None is the first user.
    """

    url: str
    data: Path
    user: str | None = None

    def connect(self) -> Client:
        """Go on with the session that is kept for them; the first user is logged in if there is none.

        Raises:
          ClientError: Nothing listens there, they are not logged in, or the installation is another one.
        """
        client = Client(self.url, session=self.session(), credentials=self._credentials())
        try:
            client.resume()
        except ClientError as error:
            client.close()
            raise self._explained(error) from error
        return client

    async def connect_async(self) -> AsyncClient:
        """Do so for asyncio; see `connect`."""
        client = AsyncClient(self.url, session=self.session(), credentials=self._credentials())
        try:
            await client.resume()
        except ClientError as error:
            await client.aclose()
            raise self._explained(error) from error
        return client

    def log_in(self, password: str | None) -> None:
        """Begin a session and keep it.

        Parameters:
          password: Theirs; that of the first user is known.

        Raises:
          ClientError: It is wrong; or there was no answer.
        """
        known = self._credentials()
        name, secret = known if known and password is None else (self.name(), password or "")
        with Client(self.url, session=self.session()) as client:
            try:
                client.log_in(name, secret)
            except ClientError as error:
                raise (self._explained(error) if password is None else error) from error

    def session(self) -> SessionFile:
        """Give the file that keeps their session."""
        return SessionFile(self.data / "sessions" / f"{account_id_of(self.name())}.json")

    def name(self) -> str:
        """Give their username.

        Raises:
          ClientError: They are the first user, and there is none.
        """
        if self.user is not None:
            return self.user
        self._check()
        return first_user(self.data)[0]

    def is_first(self) -> bool:
        """Tell whether they are the first user of the data directory."""
        return self._credentials() is not None

    def _check(self) -> None:
        if not knows_first_user(self.data):
            raise ClientError(
                f"{self.data} knows no first user; start `lightning up`, give its --data, or log in as --user"
            )

    def _credentials(self) -> tuple[str, str] | None:
        if not knows_first_user(self.data):
            return None
        name, password = first_user(self.data)
        same = self.user is None or account_id_of(self.user) == account_id_of(name)
        return (name, password) if same else None

    def _explained(self, error: ClientError) -> ClientError:
        if error.status != 401:
            return error
        if self.is_first():
            what = (
                f"the password of {self.name()} at {self.url} is not the one in {self.data / FILE}; "
                "`lightning login --password-stdin` logs in with another, "
                "or give the --data of that installation"
            )
        else:
            what = f"{self.user} is not logged in to {self.url}; `lightning login --user {self.user}` does it"
        return ClientError(what, status=error.status, code=error.code)
