"""What the commands print: plain text, JSON lines, and one line for what went wrong."""

import json
import os
import re
import select
import sys
import threading
from collections.abc import Iterable
from typing import NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column

#: What could move the cursor, set colors, reverse the order of letters or end a line unseen: C0 but for
#: line feed and tab, DEL and C1 (ECMA-48), line separators and bidirectional overrides (Unicode), halves
#: of characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Take everything out of a text that a terminal would act on, lines and tabs excepted."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Put a text on one line, in `plain` characters."""
    return " ".join(plain(text).split())


_ID_CHARS = 36


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave without a word."""
        _leave()


console = _Console(highlight=False, soft_wrap=True)


def id_column() -> Column:
    """Make a column of ids, which are there to be copied, however narrow the terminal is."""
    return Column("id", no_wrap=True, min_width=_ID_CHARS)


def whole_column(name: str, cells: Iterable[str]) -> Column:
    """Make a column whose cells are never cut, however long they are and narrow the terminal is."""
    return Column(name, no_wrap=True, min_width=max(map(cell_len, cells), default=0))


def write(text: str) -> None:
    """Print a text as it is, at once."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave()


def write_bytes(content: bytes) -> None:
    """Print bytes as they are, at once; for files and pipes."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _leave()


def write_json(value: object, *, indent: int | None = None) -> None:
    """Print JSON: one line of it, unless it is indented; ASCII only, so that it can be printed anywhere."""
    write(json.dumps(value, indent=indent) + "\n")


def complain(message: str) -> None:
    """Print what went wrong on standard error."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"[red]{escape(plain(message))}[/red]")


def tolerate() -> None:
    """Print and read what the terminal's encoding lacks as something else, instead of failing."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # under a test runner it may be something simpler
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")


def leave_when_unread() -> None:
    """End well as soon as nobody reads what is printed, even if nothing is printed any more."""
    poll = select.poll()
    # no event is asked for: a reader that is gone is reported in any case, and nothing else
    poll.register(sys.stdout.fileno(), 0)

    def watch() -> None:
        poll.poll()
        # nothing is left to write, and the main thread may wait for the network
        os._exit(0)  # pyright: ignore[reportPrivateUsage]

    threading.Thread(target=watch, daemon=True).start()


def _leave() -> NoReturn:
    """End well: whoever read has seen enough (`lightning tail | head -1`)."""
    # Python flushes once more at its end
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)
