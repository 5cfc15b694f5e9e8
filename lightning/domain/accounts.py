"""Accounts: who may ask for a token.

The account's id, which is the tenant of everything that the person owns, follows from the username. So one
conditional create makes a name unique, and one point read finds it: there is no second document to keep in
step. For the same reason a username never changes.

Whatever ends all sessions of an account at once (another password, a disabled account) moves its
``generation`` on, and a session holds only while it has the account's own: one write, however many there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from lightning.domain.passwords import BCRYPT_ROUNDS, Passwords, checked_password
from lightning.domain.usernames import account_id_of, normal_username
from lightning.errors import Conflict, Forbidden, NotFound, Unauthorized
from lightning.ids import account_id
from lightning.storage import Body, Create, Operation, Replace, Storage, Stored, Where

#: ``user``: owns a log; ``operator``: a person, ``service``: a program that may post for others.
Role = Literal["user", "operator", "service"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

#: Id of the account's document within its partition.
DOCUMENT: Final = "account"


@dataclass(frozen=True, slots=True)
class Account:
    """A person or program that has a log of its own.

    Parameters:
      id: The tenant: ``userID`` of its events and documents.
      username: Its name in normal form.
      role: ``user``, ``operator`` or ``service``.
      disabled: Whether it may do nothing.
      generation: Sessions of another generation have ended.
      created_at: When it was made, as RFC 3339 has it.
    """

    id: str
    username: str
    role: str
    disabled: bool = False
    generation: int = 0
    created_at: str = field(default="", compare=False)


class Accounts:
    """Accounts in a store, their passwords as bcrypt hashes only.

    Parameters:
      storage: The store.
      container: Its container of users.
      rounds: bcrypt's cost; less than `BCRYPT_ROUNDS` only in tests.
      concurrency: Hashes computed at a time.
      max_waiting: Callers that may wait for their turn; more are sent away to come again.
    """

    def __init__(
        self,
        storage: Storage,
        container: str = "users",
        *,
        rounds: int = BCRYPT_ROUNDS,
        concurrency: int = 2,
        max_waiting: int = 64,
    ) -> None:
        self._storage = storage
        self._container = container
        self._passwords = Passwords(rounds=rounds, concurrency=concurrency, max_waiting=max_waiting)
        # apart, so that a crowd at the registration keeps nobody from logging in
        self._new_passwords = Passwords(rounds=rounds, concurrency=concurrency, max_waiting=max_waiting)

    async def register(self, username: str, password: str, *, role: str = "user") -> Account:
        """Make an account.

        Parameters:
          username: 3 to 64 letters, digits and ``. _ - @ +``; case and Unicode variants do not matter.
          password: At least 8 characters and at most 72 bytes.
          role: What the account is to the platform.

        Returns:
          The account.

        Raises:
          InvalidAccount: The username or password will not do; the pointer says which.
          Conflict: The username is taken (``username_taken``).
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        body = await self.draft(username, password, role=role)
        await self.place(body)
        return _account(body)

    async def draft(self, username: str, password: str, *, role: str = "user") -> Body:
        """Make the document of an account, its password hashed, without writing it.

        Raises:
          InvalidAccount: The username or password will not do.
          Conflict: The username is taken (``username_taken``).
          Transient: Too many passwords are being hashed.
        """
        name = normal_username(username)
        secret = checked_password(password)
        stored = await self._storage.get(self._container, account_id(name), DOCUMENT)
        if stored is not None and stored.body["kind"] == "account":
            raise taken()  # before anything is computed for it
        return {
            "id": DOCUMENT,
            "userID": account_id(name),
            "kind": "account",
            "username": name,
            "role": role,
            "passwordHash": await self._new_passwords.hash(secret),
            "disabled": False,
            "generation": 0,
            "createdAt": datetime.now(UTC).isoformat(),
        }

    async def place(self, body: Body) -> str:
        """Write the document of a new account, over one whose registration never ended if need be.

        Returns:
          Its etag.

        Raises:
          Conflict: The username is taken (``username_taken``).
        """
        stored = await self._storage.get(self._container, body["userID"], DOCUMENT)
        if stored is not None and stored.body["kind"] == "account":
            raise taken()
        operation = Create(body) if stored is None else Replace(body, stored.etag)
        try:
            [etag] = await self._storage.batch(self._container, body["userID"], [operation])
        except Conflict:
            raise taken() from None
        return etag

    async def authenticate(self, username: str, password: str) -> Account:
        """Tell whose username and password these are.

        Takes as long for a name that nobody has as for a wrong password.

        Parameters:
          username: As registered, in any case.
          password: The password.

        Returns:
          The account.

        Raises:
          Unauthorized: Either is wrong; which one is not told (``wrong_credentials``).
          Forbidden: Both are right, but the account is disabled (``account_disabled``).
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        stored = await self._document(account_id_of(username))
        hashed = None if stored is None else str(stored.body["passwordHash"])
        same = await self._passwords.matches(password, hashed)
        # as it is now: another process may just have disabled the account, or enabled it
        account = await self.current(stored.body["userID"]) if stored is not None and same else None
        if account is None:
            raise Unauthorized("wrong username or password", code="wrong_credentials")
        if account.disabled:
            raise Forbidden("the account is disabled; ask the operators", code="account_disabled")
        return account

    async def change_password(
        self, account: Account, password: str, besides: Callable[[Account], Sequence[Operation]]
    ) -> Account:
        """Set another password, which ends every session.

        Parameters:
          account: As it was authenticated.
          password: The new password.
          besides: Makes what is written in the same batch, from the account as it will be.

        Raises:
          InvalidAccount: The password will not do.
          Unauthorized: Somebody else changed the password meanwhile.
          PreconditionFailed: A document of ``besides`` is not in the version named; nothing was changed.
        """
        hashed = await self._passwords.hash(checked_password(password, "/newPassword"))
        changed: list[Account] = []

        def build(stored: Stored | None) -> list[Operation]:
            if stored is None or stored.body["generation"] != account.generation:
                raise Unauthorized("the account was changed meanwhile; log in again", code="invalid_token")
            body = stored.body | {"passwordHash": hashed, "generation": account.generation + 1}
            changed[:] = [_account(body)]
            return [Replace(body, stored.etag), *besides(changed[0])]

        await self._storage.batch_on(self._container, account.id, DOCUMENT, build)
        return changed[0]

    async def read(self, account_id: str) -> Account | None:
        """Read an account by its id."""
        stored = await self._document(account_id)
        return None if stored is None else _account(stored.body)

    async def current(self, account_id: str) -> Account | None:
        """Read an account as a write would meet it; `read` may miss what another process has just changed."""
        found: list[Account] = []

        def look(stored: Stored | None) -> list[Operation]:
            found[:] = [_account(stored.body)] if stored is not None and _is_account(stored) else []
            return []

        await self._storage.batch_on(self._container, account_id, DOCUMENT, look)
        return found[0] if found else None

    async def named(self, username: str) -> Account:
        """Read an account by its name.

        Raises:
          NotFound: Nobody has this name.
        """
        account = await self.read(account_id_of(username))
        if account is None:
            raise _nobody(username)
        return account

    async def all(self, *, limit: int = 1000, page: str | None = None) -> tuple[list[Account], str | None]:
        """List accounts by name, a page at a time.

        Returns:
          The accounts, and the token of the next page.
        """
        where = [Where("kind", "=", "account")]
        found = await self._storage.query(
            self._container, None, where, order_by="username", limit=limit, page=page
        )
        return [_account(stored.body) for stored in found.items], found.next

    async def set_role(self, username: str, role: Role) -> Account:
        """Change what an account is to the platform; its tokens of the old role are refused from then on.

        Raises:
          NotFound: Nobody has this name.
        """
        return await self._change(username, lambda body: {"role": role})

    async def set_disabled(self, username: str, *, disabled: bool) -> Account:
        """Disable an account, which ends its sessions, or enable it again.

        Raises:
          NotFound: Nobody has this name.
        """
        return await self._change(
            username,
            lambda body: {"disabled": disabled, "generation": body["generation"] + int(disabled)},
        )

    async def set_password(self, username: str, password: str) -> Account:
        """Set a password without knowing the old one, which ends every session.

        Raises:
          NotFound: Nobody has this name.
          InvalidAccount: The password will not do.
        """
        hashed = await self._passwords.hash(checked_password(password))
        return await self._change(
            username, lambda body: {"passwordHash": hashed, "generation": body["generation"] + 1}
        )

    async def end_sessions(self, username: str) -> Account:
        """End every session of an account.

        Raises:
          NotFound: Nobody has this name.
        """
        return await self._change(username, lambda body: {"generation": body["generation"] + 1})

    async def _change(self, username: str, change: Callable[[Body], dict[str, Any]]) -> Account:
        partition = account_id_of(username)
        changed: list[Account] = []

        def build(stored: Stored | None) -> list[Operation]:
            if stored is None or stored.body["kind"] != "account":
                raise _nobody(username)
            body = stored.body | change(stored.body)
            changed[:] = [_account(body)]
            return [Replace(body, stored.etag)]

        await self._storage.batch_on(self._container, partition, DOCUMENT, build)
        return changed[0]

    async def _document(self, partition: str) -> Stored | None:
        stored = await self._storage.get(self._container, partition, DOCUMENT)
        return stored if stored is not None and _is_account(stored) else None


def _is_account(stored: Stored) -> bool:
    return stored.body["kind"] == "account"


def _account(body: Body) -> Account:
    return Account(
        id=body["userID"],
        username=body["username"],
        role=body["role"],
        disabled=body["disabled"],
        generation=body["generation"],
        created_at=body["createdAt"],
    )


def taken() -> Conflict:
    """Make the error for a name that somebody has."""
    return Conflict("the username is taken; choose another", code="username_taken", pointer="/username")


def _nobody(username: str) -> NotFound:
    return NotFound(f"there is no account {username!r}; `lightning users list` shows all")
