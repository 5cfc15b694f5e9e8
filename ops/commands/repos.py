"""`lightning repos`: what is in repositories, and what is put there."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lightning.client import ClientError
from lightning.client.shapes import CommitMade
from ops.commands import output
from ops.commands.options import AsJson, Data, Limit, Url, User, connect

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name or id of a repository.")]
PathInside = Annotated[str, typer.Argument(help="Path of a file in it.")]
At = Annotated[str | None, typer.Option(help="A commit.", show_default="the newest")]
Note = Annotated[str | None, typer.Option("--message", "-m", help="What is said about it.")]
Base = Annotated[str | None, typer.Option(help="The commit that you saw: what others changed since is kept.")]

SHORT_CHARS = 10


@app.command("list")
def list_repositories(
    *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """List the repositories."""
    with connect(url, data, user) as client:
        found = client.repositories()
    if as_json:
        output.write_json(found, indent=2)
        return
    table = Table(output.id_column(), "name", "where", "created", box=None)
    for each in found:
        table.add_row(each["id"], each["name"], escape(each["url"] or "here"), each["createdAt"])
    output.console.print(table)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    *,
    remote: Annotated[
        str | None, typer.Option(help="Where it lives: an https URL. Else it is made here.")
    ] = None,
    username: Annotated[str, typer.Option(help="Name for the git server.")] = "git",
    password: Annotated[
        bool, typer.Option("--password", help="Ask for the password, or token; from a pipe, the first line.")
    ] = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a repository, or register one that lives elsewhere."""
    fields: dict[str, object] = {} if remote is None else {"url": remote}
    if password:
        secret = _password()
        fields["credentials"] = {"username": username, "password": secret}
    with connect(url, data, user) as client:
        made = client.create_repository(name, **fields)
    if as_json:
        output.write_json(made, indent=2)
    else:
        output.console.print(f"made {escape(made['name'])} {made['id']}")


@app.command()
def show(
    name: Name, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show a repository, and its newest commit."""
    with connect(url, data, user) as client:
        found = client.repository(name)
    if as_json:
        output.write_json(found, indent=2)
        return
    table = Table(box=None, show_header=False)
    for label, value in {
        "id": found["id"],
        "name": found["name"],
        "where": found["url"] or "here",
        "credentials": "yes" if found["credentials"] else "none",
        "commit": found.get("commit") or "none yet",
        "created": found["createdAt"],
    }.items():
        table.add_row(label, escape(output.one_line(value)))
    output.console.print(table)


@app.command()
def delete(name: Name, *, user: User = None, url: Url = None, data: Data = None) -> None:
    """Remove a repository with all that is in it."""
    with connect(url, data, user) as client:
        client.delete_repository(name)
    output.console.print(f"deleted {escape(name)}")


@app.command()
def fetch(
    name: Name, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Fetch what is new where a repository lives."""
    with connect(url, data, user) as client:
        found = client.fetch_repository(name)
    if as_json:
        output.write_json(found, indent=2)
    else:
        output.console.print(f"{escape(found['name'])} is at {found.get('commit') or 'no commit yet'}")


@app.command()
def files(
    name: Name,
    prefix: Annotated[str, typer.Argument(help="Only paths that begin so.", show_default=False)] = "",
    *,
    at: At = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List files with their sizes."""
    with connect(url, data, user) as client:
        after: str | None = ""
        while after is not None:
            page = client.repository_files(name, prefix=prefix, after=after, **_given(at=at))
            for each in page["files"]:
                if as_json:
                    output.write_json(each)
                else:
                    size = "" if each["size"] is None else str(each["size"])
                    kind = "" if each["kind"] == "file" else f" ({each['kind']})"
                    output.write(f"{size:>10} {output.one_line(each['path'])}{kind}\n")
            after = page["next"]


@app.command()
def cat(
    name: Name, path: PathInside, *, at: At = None, user: User = None, url: Url = None, data: Data = None
) -> None:
    """Print a file; to a terminal, without what could act on it."""
    with connect(url, data, user) as client:
        content = client.read_file(name, path, **_given(at=at))
    if sys.stdout.isatty():
        output.write(output.plain(content.decode(errors="replace")))
    else:
        output.write_bytes(content)


@app.command()
def put(
    name: Name,
    path: PathInside,
    source: Annotated[Path | None, typer.Argument(help="A file of yours; standard input by default.")] = None,
    *,
    message: Note = None,
    base: Base = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write a file, as a commit."""
    content = _content(source)
    with connect(url, data, user) as client:
        made = client.write_file(name, path, content, **_given(message=message, base=base))
    _tell(made, as_json=as_json)


@app.command()
def rm(
    name: Name,
    path: PathInside,
    *,
    message: Note = None,
    base: Base = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Remove a file, as a commit."""
    with connect(url, data, user) as client:
        made = client.remove_file(name, path, **_given(message=message, base=base))
    _tell(made, as_json=as_json)


@app.command()
def search(
    name: Name,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    regex: Annotated[
        bool, typer.Option("--regex", "-E", help="A POSIX extended regular expression.")
    ] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", "-i", help="Case does not matter.")] = False,
    at: At = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Look for lines in files; ends with 1 where there is none."""
    with connect(url, data, user) as client:
        found = client.search_repository(
            name, text, regex=int(regex), ignoreCase=int(ignore_case), **_given(at=at)
        )
    if as_json:
        output.write_json(found, indent=2)
    else:
        for each in found["matches"]:
            output.write(f"{output.one_line(each['path'])}:{each['line']}: {output.plain(each['text'])}\n")
        if found["truncated"]:
            output.complain("there are more; look for something longer")
    if not found["matches"]:
        raise typer.Exit(1)


@app.command()
def log(
    name: Name,
    path: Annotated[str | None, typer.Argument(help="Only what changed this.", show_default=False)] = None,
    *,
    limit: Limit = 20,
    at: At = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Tell the history, newest first."""
    with connect(url, data, user) as client:
        found = client.repository_log(name, limit=limit, **_given(at=at, path=path))
    if as_json:
        output.write_json(found, indent=2)
        return
    for each in found["commits"]:
        first = output.one_line(each["message"].partition("\n")[0])
        author = output.one_line(each["author"])
        output.write(f"{each['id'][:SHORT_CHARS]} {each['time']} {author}: {first}\n")


@app.command()
def diff(
    name: Name,
    commit: Annotated[str | None, typer.Argument(help="A commit; the newest by default.")] = None,
    *,
    base: Annotated[str | None, typer.Option(help="The one before.", show_default="its parent")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print what a commit changed."""
    with connect(url, data, user) as client:
        found = client.repository_diff(name, **_given(at=commit, base=base))
    if as_json:
        output.write_json(found, indent=2)
        return
    output.write(output.plain(found["patch"]))
    if found["truncated"]:
        output.complain("it goes on; lightning repos bundle gives all of it")


@app.command()
def bundle(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    *,
    load: Annotated[
        bool, typer.Option("--load", help="Take over what is in it, instead of writing it.")
    ] = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write the history as a git bundle, for `git clone` and `git pull`; or take one over."""
    with connect(url, data, user) as client:
        if load:
            _tell(client.send_bundle(name, _content(file)), as_json=as_json)
            return
        content = client.read_bundle(name)
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ClientError(f"{file} cannot be written: {error.strerror}") from None
    output.console.print(f"wrote {len(content)} bytes; git clone {escape(str(file))} gives the files")


@app.command()
def revert(
    name: Name,
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    *,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Undo what a run committed."""
    with connect(url, data, user) as client:
        _tell(client.revert_run(name, run), as_json=as_json)


def _tell(made: CommitMade, *, as_json: bool) -> None:
    if as_json:
        output.write_json(made, indent=2)
    else:
        output.console.print(f"{'committed' if made['created'] else 'unchanged'} {made['commit'] or ''}")


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _content(source: Path | None) -> bytes:
    if source is None:
        return sys.stdin.buffer.read()
    try:
        return source.read_bytes()
    except OSError as error:
        raise ClientError(f"{source} cannot be read: {error.strerror}") from None


def _password() -> str:
    if sys.stdin.isatty():
        return typer.prompt("Password or token", hide_input=True)
    return sys.stdin.readline().rstrip("\n")
