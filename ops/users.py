"""`lightning users`: the accounts of an installation, worked on in its store, whether or not it runs."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from lightning.domain.accounts import Account, Accounts, Role
from lightning.domain.invitations import Invitations
from lightning.domain.service_tokens import ServiceTokens
from lightning.domain.sessions import Sessions
from lightning.errors import LightningError, NotFound
from lightning.settings import Settings, from_environment
from lightning.storage import open_storage
from ops.commands import output

app = typer.Typer()

_out = Console(highlight=False, soft_wrap=True)

Data = Annotated[Path | None, typer.Option(help="Data directory.", show_default=".lightning")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Username.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is made.")
]

Result = TypeVar("Result")

#: What is said of a session, before the program that has it.
_SESSION = ("id", "created", "used", "address")


@dataclass(frozen=True, slots=True)
class _Parts:
    accounts: Accounts
    sessions: Sessions
    service_tokens: ServiceTokens
    invitations: Invitations


@app.command()
def add(
    name: Name,
    *,
    role: Annotated[Role, typer.Option(help="What the account is to the platform.")] = "user",
    password_stdin: FromStdin = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an account; a password that is made for it is printed once."""
    password = _password(from_stdin=password_stdin)
    account = _work(data, lambda parts: parts.accounts.register(name, password, role=role), new=True)
    _print_account(account, as_json=as_json, password=None if password_stdin else password)


@app.command("list")
def list_accounts(*, data: Data = None, as_json: AsJson = False) -> None:
    """List the accounts by name."""
    accounts = _work(data, _all)
    if as_json:
        _print_json([_shown(account) for account in accounts])
        return
    table = Table("username", "role", "state", _id_column("userID"), "created", box=None)
    for account in accounts:
        state = "disabled" if account.disabled else "enabled"
        table.add_row(account.username, account.role, state, account.id, account.created_at)
    _out.print(table)


@app.command()
def role(
    name: Name,
    new: Annotated[Role, typer.Argument(help="user, operator or service.")],
    *,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Change what an account is to the platform; tokens of the old role are refused within seconds."""
    _print_account(_work(data, lambda parts: parts.accounts.set_role(name, new)), as_json=as_json)


@app.command()
def disable(name: Name, *, data: Data = None, as_json: AsJson = False) -> None:
    """End all sessions of an account and let it do nothing more."""
    account = _work(data, lambda parts: parts.accounts.set_disabled(name, disabled=True))
    _print_account(account, as_json=as_json)


@app.command()
def enable(name: Name, *, data: Data = None, as_json: AsJson = False) -> None:
    """Let a disabled account log in again."""
    account = _work(data, lambda parts: parts.accounts.set_disabled(name, disabled=False))
    _print_account(account, as_json=as_json)


@app.command()
def password(
    name: Name, *, password_stdin: FromStdin = False, data: Data = None, as_json: AsJson = False
) -> None:
    """Set another password and end all sessions; a password that is made is printed once."""
    new = _password(from_stdin=password_stdin)
    account = _work(data, lambda parts: parts.accounts.set_password(name, new))
    _print_account(account, as_json=as_json, password=None if password_stdin else new)


@app.command()
def sessions(name: Name, *, data: Data = None, as_json: AsJson = False) -> None:
    """List where an account is logged in."""

    async def found(parts: _Parts) -> list[dict[str, str]]:
        account = await parts.accounts.named(name)
        return [
            {
                "id": session.id,
                "createdAt": session.created_at,
                "usedAt": session.used_at,
                "address": session.address,
                "agent": session.agent,
            }
            for session in await parts.sessions.all(account)
        ]

    rows = _work(data, found)
    if as_json:
        _print_json(rows)
        return
    cells = [
        (
            row["id"],
            *(_to_the_second(row[name]) for name in ("createdAt", "usedAt")),
            row["address"],
            row["agent"],
        )
        for row in rows
    ]
    whole = [output.whole_column(name, [row[n] for row in cells]) for n, name in enumerate(_SESSION)]
    table = Table(*whole, Column("agent", min_width=20, no_wrap=True), box=None)
    for row in cells:
        table.add_row(*map(escape, row))
    _out.print(table)


@app.command()
def revoke(
    name: Name,
    *,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """End all sessions and service tokens of an account, or one session."""

    async def end(parts: _Parts) -> Account:
        account = await parts.accounts.named(name)
        if session is None:
            await parts.service_tokens.revoke_all(account.id)
            return await parts.accounts.end_sessions(name)
        if not await parts.sessions.end(account.id, session):
            raise NotFound(f"{name} has no session {session}; `lightning users sessions {name}` shows them")
        return account

    _print_account(_work(data, end), as_json=as_json)


@app.command()
def invite(
    *,
    expires_days: Annotated[float, typer.Option(min=0.01, max=366, help="Days that it is good for.")] = 7,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an invitation, for one account, to hand over: `POST /api/register` takes it as `invitation`."""
    seconds = int(expires_days * 24 * 3600)
    made = _work(data, lambda parts: parts.invitations.invite(seconds), new=True)
    expires_at = datetime.fromtimestamp(made.expires_at, UTC).isoformat()
    if as_json:
        _print_json({"invitation": made.token, "expiresAt": expires_at})
        return
    _out.print(f"{made.token}\n[dim]for one account, until {expires_at}[/dim]")


def _work(data: Path | None, work: Callable[[_Parts], Awaitable[Result]], *, new: bool = False) -> Result:
    """Work on the store; what a person did wrong is one line, not a traceback.

    Parameters:
      data: The data directory, if another than the settings name.
      work: What to do.
      new: Whether the installation may be one that never ran.
    """
    try:
        settings = from_environment(LIGHTNING_DATA=data)
        return asyncio.run(_with_store(settings, work, new=new))
    except LightningError as error:
        raise _failed(error.message) from error
    except OSError as error:
        raise _failed(f"{error.strerror}: {error.filename or 'the disk'}; mend it, and repeat") from error


async def _with_store(
    settings: Settings, work: Callable[[_Parts], Awaitable[Result]], *, new: bool
) -> Result:
    if not new and settings.storage == "sqlite" and not settings.data.exists():
        raise NotFound(f"there is no installation in {settings.data}; name its directory with --data")
    storage = open_storage(settings)
    try:
        accounts = Accounts(storage)
        sessions = Sessions(storage, accounts, lifetime_seconds=settings.refresh_seconds)
        parts = _Parts(accounts, sessions, ServiceTokens(storage), Invitations(storage, accounts))
        return await work(parts)
    finally:
        await storage.close()


async def _all(parts: _Parts) -> list[Account]:
    accounts, page = await parts.accounts.all()
    while page is not None:
        more, page = await parts.accounts.all(page=page)
        accounts += more
    return accounts


def _failed(message: str) -> typer.Exit:
    output.complain(message)
    return typer.Exit(1)


def _password(*, from_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\r\n") if from_stdin else secrets.token_urlsafe(18)


def _shown(account: Account) -> dict[str, Any]:
    return {
        "userID": account.id,
        "username": account.username,
        "role": account.role,
        "disabled": account.disabled,
        "createdAt": account.created_at,
    }


def _print_account(account: Account, *, as_json: bool, password: str | None = None) -> None:
    if as_json:
        _print_json(_shown(account) | ({} if password is None else {"password": password}))
        return
    state = ", disabled" if account.disabled else ""
    _out.print(f"{escape(account.username)}  {account.role}{state}  [dim]{account.id}[/dim]")
    if password is not None:
        _out.print(f"password  {escape(password)}")


def _id_column(name: str) -> Column:
    """Make a column whose ids are never cut: they are what the next command needs."""
    return Column(name, min_width=36, no_wrap=True)


def _to_the_second(moment: str) -> str:
    return datetime.fromisoformat(moment).isoformat(timespec="seconds")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
