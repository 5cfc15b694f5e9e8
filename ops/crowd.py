"""Many users at once, for benchmarks and trials: accounts whose passwords nobody knows, each logged in."""

from lightning.domain.accounts import Accounts
from lightning.domain.sessions import Origin, Sessions
from lightning.domain.tokens import TokenIssuer
from lightning.ids import new_id
from lightning.keys import secret
from lightning.settings import Settings
from lightning.storage import open_storage

#: Of bcrypt, as low as it goes: nobody will ever log in with these passwords.
ROUNDS = 4


async def crowd(settings: Settings, users: int) -> list[tuple[str, str]]:
    """Make accounts with a session each.

    Parameters:
      settings: Of the installation, with its keys.
      users: How many.

    Returns:
      For each its ``userID`` and an access token.
    """
    tokens = TokenIssuer(secret(settings.jwt_signing_key, "JWT_SIGNING_KEY"))
    storage = open_storage(settings)
    accounts = Accounts(storage, rounds=ROUNDS)
    sessions = Sessions(storage, accounts)
    made: list[tuple[str, str]] = []
    for _ in range(users):
        account = await accounts.register(f"crowd-{new_id()}", new_id())
        grant = await sessions.start(account, Origin())
        made.append((account.id, tokens.issue("user", account.id, claims={"sid": grant.session_id})))
    await storage.close()
    return made
