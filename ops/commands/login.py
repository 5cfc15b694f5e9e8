"""`lightning login` and `lightning logout`: the sessions that the commands keep."""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from lightning.client import Client, ClientError
from ops.commands import output
from ops.commands.options import AsJson, Data, Url, User, access


def login(
    *,
    user: User = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Log in; the session is kept in the data directory, and other commands go on with it."""
    who = access(url, data, user)
    name = who.name()
    who.log_in(_password(from_stdin=password_stdin) if password_stdin or not who.is_first() else None)
    _say("logged in", name, as_json=as_json)


def logout(*, user: User = None, data: Data = None, as_json: AsJson = False) -> None:
    """End the session that is kept, for every program that has it."""
    who = access(None, data, user)
    session = who.session()
    kept = session.read()
    ended = False
    if kept is not None:
        with Client(kept.url, session=session) as client:
            ended = client.log_out()
    _say("logged out" if ended else "not logged in", who.name(), as_json=as_json)


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ClientError("there is no terminal to ask for the password; give it with --password-stdin")
    return typer.prompt("Password", hide_input=True)


def _say(state: str, name: str, *, as_json: bool) -> None:
    if as_json:
        output.write_json({"user": name, "state": state})
    else:
        output.console.print(f"{escape(output.one_line(name))} is {state}")
