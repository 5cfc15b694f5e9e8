"""A bare repository on this machine, read by git's plumbing: by commits, and without a working tree."""

import re
from pathlib import Path
from typing import Final

from lightning.errors import InvalidRequest, NotFound
from lightning.repositories.content import Commit, Entry, File, Found, History, Kind, Match
from lightning.repositories.paths import check_path
from lightning.repositories.port import MAX_FILE_BYTES, MAX_FILES, MAX_MESSAGE_CHARS, NO_COMMIT
from lightning.repositories.process import Git, GitFailed, Output, TookTooLong

#: The one branch of every repository.
BRANCH: Final = "refs/heads/main"

COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}")

SEARCH_SECONDS: Final = 10.0
MAX_SEARCH_BYTES: Final = 512 * 1024
MAX_MATCHES: Final = 500
MAX_LINE_CHARS: Final = 500
MAX_PATTERN_CHARS: Final = 500

_MAX_LIST_BYTES: Final = MAX_FILES * 1200
_MAX_LOG_BYTES: Final = 8 * 1024 * 1024

#: Of what a commit says so much is told: all that is written here, with trailers.
_MAX_TOLD_CHARS: Final = MAX_MESSAGE_CHARS + 1024

_KINDS: Final[dict[str, Kind]] = {
    "100644": "file",
    "100664": "file",
    "100755": "executable",
    "120000": "symlink",
    "160000": "submodule",
}

_TRAILERS: Final = ("Lightning-Run", "Lightning-Event", "Lightning-Reverts", "Lightning-Effect")
_FIELDS: Final = (
    "%H",
    "%aI",
    "%P",
    "%an",
    *(f"%(trailers:key={name},valueonly,separator=%x2C)" for name in _TRAILERS),
    "%B",
)


class Folder:
    """One bare repository in a folder.

    Parameters:
      git: Runs git.
      path: The folder.
    """

    def __init__(self, git: Git, path: Path) -> None:
        self.git = git
        self.path = path

    async def make(self) -> None:
        """Make an empty repository there: without hooks, and with no settings but git's own."""
        await self.git.run(
            None,
            *("init", "--quiet", "--bare", "--template=", "--object-format=sha1"),
            *("--initial-branch=main", "--", str(self.path)),
        )

    async def has(self, commit: str) -> bool:
        """Tell whether a commit is here."""
        asked = f"{commit}^{{commit}}"
        return (await self.git.run(self.path, "cat-file", "-e", asked, statuses=(0, 1, 128))).status == 0

    async def tree_of(self, commit: str) -> str:
        """Give the tree of a commit, or of an empty repository."""
        if commit == NO_COMMIT:
            arguments = ("hash-object", "-t", "tree", "-w", "--stdin")
        else:
            arguments = ("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
        return (await self.git.run(self.path, *arguments)).text.strip()

    async def is_in_history(self, commit: str, tip: str) -> bool:
        """Tell whether a commit is another, or one that it follows."""
        if commit in {tip, NO_COMMIT}:
            return True
        if COMMIT_ID.fullmatch(commit) is None or tip == NO_COMMIT:
            return False
        arguments = ("merge-base", "--is-ancestor", commit, tip)
        return (await self.git.run(self.path, *arguments, statuses=(0, 1, 128))).status == 0

    async def entries(self, commit: str) -> list[Entry]:
        """List every file of a commit, in the order of their paths.

        Raises:
          InvalidRequest: There are too many (``too_many_files``).
        """
        if commit == NO_COMMIT:
            return []
        listed = await self.git.run(
            self.path,
            *("ls-tree", "-r", "-z", "-l", "--full-tree", commit),
            max_bytes=_MAX_LIST_BYTES,
            cut=True,
        )
        found = [_entry(line) for line in listed.data.split(b"\0") if line] if not listed.truncated else []
        if listed.truncated or len(found) > MAX_FILES:
            raise InvalidRequest(f"a repository has at most {MAX_FILES} files", code="too_many_files")
        return found

    async def entry(self, commit: str, path: str) -> Entry:
        """Find a file.

        Raises:
          NotFound: There is none (``no_such_file``).
          InvalidRequest: The path is none.
        """
        check_path(path)
        if commit != NO_COMMIT:
            listed = await self.git.run(
                self.path, "ls-tree", "-z", "-l", "--full-tree", commit, "--", path, max_bytes=64 * 1024
            )
            for line in listed.data.split(b"\0"):
                if line and b" tree " not in line[:13] and (found := _entry(line)).path == path:
                    return found
        raise NotFound(f"there is no file {path!r} in this commit", code="no_such_file")

    async def read(self, commit: str, path: str) -> File:
        """Read a file.

        Raises:
          NotFound: There is none (``no_such_file``).
          InvalidRequest: It is over the limit (``file_too_large``), or the path is none.
        """
        entry = await self.entry(commit, path)
        if entry.size is None:
            return File(commit, entry, b"")
        if entry.size > MAX_FILE_BYTES:
            message = f"{path!r} has {entry.size} bytes; files are read up to {MAX_FILE_BYTES}"
            raise InvalidRequest(message, code="file_too_large")
        found = await self.git.run(self.path, "cat-file", "blob", entry.id, max_bytes=MAX_FILE_BYTES)
        return File(commit, entry, found.data)

    async def search(self, commit: str, pattern: str, *, regex: bool, ignore_case: bool) -> Found:
        """Look for lines; see `Repository.search`."""
        if not 0 < len(pattern) <= MAX_PATTERN_CHARS or re.search(r"[\x00\n\r]", pattern):
            message = f"look for 1 to {MAX_PATTERN_CHARS} characters of one line"
            raise InvalidRequest(message, code="invalid_pattern")
        if commit == NO_COMMIT:
            return Found(commit, [], truncated=False)
        kinds = ["-E" if regex else "-F", *(["-i"] if ignore_case else [])]
        # one more than is given, of any file, tells that there is more
        arguments = ("grep", "-z", "-n", "-I", "--full-name", "--no-color", "--no-recurse-submodules")
        try:
            found = await self.git.run(
                self.path,
                *(*arguments, *kinds, f"--max-count={MAX_MATCHES + 1}", "-e", pattern, commit, "--"),
                statuses=(0, 1, 128),
                max_bytes=MAX_SEARCH_BYTES,
                cut=True,
                slow=True,
                timeout_seconds=SEARCH_SECONDS,
            )
        except TookTooLong:
            message = f"the search takes longer than {SEARCH_SECONDS:g} seconds; look for something simpler"
            raise InvalidRequest(message, code="search_too_long") from None
        if found.status == 128:
            raise InvalidRequest(
                "the pattern is no POSIX extended regular expression", code="invalid_pattern"
            )
        return _matches(commit, found)

    async def log(self, commit: str, *, path: str | None, skip: int, limit: int) -> History:
        """Tell the history; see `Repository.log`."""
        if commit == NO_COMMIT:
            return History([], None)
        behind = ("--", check_path(path)) if path is not None else ("--",)
        told = await self.git.run(
            self.path,
            *("log", "-z", f"--format={'%x00'.join(_FIELDS)}", f"--skip={skip}", f"--max-count={limit + 1}"),
            *(commit, *behind),
            max_bytes=_MAX_LOG_BYTES,
            cut=True,
        )
        commits = _commits(told)
        shown = commits[:limit]
        return History(shown, skip + len(shown) if told.truncated or len(commits) > limit else None)

    async def with_trailer(self, tip: str, name: str, value: str) -> list[Commit]:
        """Find the commits with a trailer in a history, newest first."""
        if tip == NO_COMMIT:
            return []
        told = await self.git.run(
            self.path,
            *("log", "--format=%H", "--max-count=100"),
            *("--fixed-strings", f"--grep={name}: {value}", tip, "--"),
        )
        # each by itself, so that none which says very much hides another
        found = [(await self.log(each, path=None, skip=0, limit=1)).commits[0] for each in told.text.split()]
        key = name.removeprefix("Lightning-").lower()
        return [each for each in found if getattr(each, key) == value]

    async def pack(self, commit: str, without: str, *, max_bytes: int) -> Output:
        """Pack a history, without what another commit has of it; cut off where it is too large."""
        wanted = f"{commit}\n" + (f"^{without}\n" if without != NO_COMMIT else "")
        arguments = ("pack-objects", "--quiet", "--revs", "--stdout", "--delta-base-offset", "--thin")
        return await self.git.run(self.path, *arguments, stdin=wanted.encode(), max_bytes=max_bytes, cut=True)

    async def take(self, bundle: Path, ref: str, into: str) -> None:
        """Take over a ref of a bundle, whole and checked object by object.

        Raises:
          GitFailed: It is not whole, or holds what must not be in a repository.
        """
        await self.git.run(
            self.path,
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--end-of-options"),
            *(str(bundle), f"+{ref}:{into}"),
            config={"protocol.file.allow": "always"},
        )

    async def point(self, ref: str, commit: str) -> None:
        """Let a ref name a commit, whatever it named before."""
        await self.git.run(self.path, "update-ref", "--end-of-options", ref, commit)


def _entry(line: bytes) -> Entry:
    about, _, path = line.partition(b"\t")
    mode, kind, named, size = about.decode().split()
    known: Kind = "submodule" if kind == "commit" else _KINDS.get(mode, "file")
    return Entry(path.decode(errors="replace"), known, None if size == "-" else int(size), named)


def _matches(commit: str, found: Output) -> Found:
    matches: list[Match] = []
    lines = found.data.split(b"\n")
    # what was cut off ends within a line
    for line in lines[:-1]:
        head, _, text = line.partition(b"\0")
        number, _, text = text.partition(b"\0")
        path = head.removeprefix(f"{commit}:".encode())
        if number.isdigit():
            shown = text.decode(errors="replace").rstrip("\r")[:MAX_LINE_CHARS]
            matches.append(Match(path.decode(errors="replace"), int(number), shown))
    truncated = found.truncated or len(matches) > MAX_MATCHES
    return Found(commit, matches[:MAX_MATCHES], truncated=truncated)


def _commits(told: Output) -> list[Commit]:
    parts = told.data.decode(errors="replace").split("\0")
    size = len(_FIELDS)
    if told.truncated:
        # what was cut off is the next page's; of a commit that is too long for any, the beginning is told
        whole = (len(parts) - 1) // size
        parts = [*parts[: whole * size], ""] if whole else [*parts, *[""] * (size + 1 - len(parts))]
    if len(parts) % size > 1:
        raise GitFailed("git tells the history otherwise than expected")
    rows = [parts[start : start + size] for start in range(0, len(parts) - 1, size)]
    return [_commit(row) for row in rows]


def _commit(row: list[str]) -> Commit:
    commit, time, parents, author, run, event, reverts, effect, message = row
    return Commit(
        commit,
        [each for each in parents.split() if COMMIT_ID.fullmatch(each)],
        _told(author),
        time.replace("+00:00", "Z"),
        _told(message.strip("\n")),
        _told(run) or None,
        _told(event) or None,
        _told(reverts) or None,
        _told(effect) or None,
    )


def _told(text: str) -> str:
    return text if len(text) <= _MAX_TOLD_CHARS else text[: _MAX_TOLD_CHARS - 1] + "…"
