"""Trees and commits made by git's plumbing: in an index of their own, and merged where others were faster."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lightning.errors import Conflict, InvalidRequest
from lightning.repositories.content import Change, Entry
from lightning.repositories.git import Folder
from lightning.repositories.paths import check_path
from lightning.repositories.port import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MESSAGE_CHARS,
    NO_COMMIT,
    GitFailed,
    MergeConflict,
)
from lightning.repositories.scratch import scratch

#: How git writes what kind of file it is.
MODES: Final = {"file": "100644", "executable": "100755"}

#: Nobody writes to these addresses (RFC 2606).
_ADDRESS: Final = "lightning@lightning.invalid"

#: What begins a line of ours at the end of a message.
_RESERVED: Final = "lightning-"


def message_with(message: str, trailers: Mapping[str, str | None]) -> str:
    """Write a message with trailers behind it (git-interpret-trailers).

    Raises:
      InvalidRequest: The message is empty or too long, or holds what reads as a trailer of ours
        (``invalid_message``).
    """
    plain = message.replace("\r\n", "\n").strip()
    if not plain or len(plain) > MAX_MESSAGE_CHARS or "\0" in plain:
        rule = f"a message has 1 to {MAX_MESSAGE_CHARS} characters"
        raise InvalidRequest(rule, code="invalid_message")
    if any(line.strip().lower().startswith(_RESERVED) for line in plain.splitlines()):
        raise InvalidRequest("no line of a message begins with Lightning-", code="invalid_message")
    lines = [f"{name}: {value}" for name, value in trailers.items() if value is not None]
    return plain + "\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")


async def changed_tree(folder: Folder, commit: str, changes: Sequence[Change]) -> str:
    """Make the tree of a commit with changes applied.

    Raises:
      InvalidRequest: A path is none or named twice, a file is too large, or there are too many.
      Conflict: A file to be removed is not there, or a path leads through a file or is that of a folder.
    """
    known = {entry.path: entry for entry in await folder.entries(commit)}
    _check(changes, known)
    blobs = await store_blobs(folder, [change.data for change in changes if change.data is not None])
    written = {
        change.path: f"{_mode(change, known.get(change.path))} {blob}"
        for change, blob in zip((each for each in changes if each.data is not None), blobs, strict=True)
    }
    return await write_tree(folder, commit, [each.path for each in changes if each.data is None], written)


async def write_tree(folder: Folder, commit: str, removed: Sequence[str], written: Mapping[str, str]) -> str:
    """Make the tree of a commit without some of its files and with others, which are stored.

    Parameters:
      folder: The repository.
      commit: The commit.
      removed: Paths of files of the commit.
      written: By path, mode and id of a content.
    """
    # removed first, so that a folder can take the place of a file
    lines = [f"0 {NO_COMMIT}\t{path}" for path in removed]
    lines += [f"{what}\t{path}" for path, what in written.items()]
    with scratch("index") as place:
        index = {"GIT_INDEX_FILE": str(place / "index")}
        start = ("--empty",) if commit == NO_COMMIT else (commit,)
        await folder.git.run(folder.path, "read-tree", *start, environment=index)
        given = "\0".join([*lines, ""]).encode()
        update = ("update-index", "-z", "--index-info")
        await folder.git.run(folder.path, *update, stdin=given, environment=index)
        return (await folder.git.run(folder.path, "write-tree", environment=index)).text.strip()


def _check(changes: Sequence[Change], known: Mapping[str, Entry]) -> None:
    paths = [check_path(change.path) for change in changes]
    if not paths or len(set(paths)) < len(paths):
        raise InvalidRequest("name at least one file, and each once", code="invalid_path")
    for change in changes:
        if change.data is None and change.path not in known:
            message = f"there is no file {change.path!r} to remove"
            raise Conflict(message, code="no_such_file")
        if change.data is not None and len(change.data) > MAX_FILE_BYTES:
            message = f"{change.path!r} has over {MAX_FILE_BYTES} bytes"
            raise InvalidRequest(message, code="file_too_large")
    removed = {change.path for change in changes if change.data is None}
    check_places(known, removed, set(paths) - removed)


def check_places(known: Iterable[str], removed: Iterable[str], written: Iterable[str]) -> None:
    """Check that files can stand beside each other.

    Parameters:
      known: The paths that there are.
      removed: Those of them that will not be there.
      written: Those that will be.

    Raises:
      InvalidRequest: There are too many (``too_many_files``).
      Conflict: A path leads through a file, or is that of a folder (``path_taken``).
    """
    written = set(written)
    left = (set(known) - set(removed)) | written
    if len(left) > MAX_FILES:
        raise InvalidRequest(f"a repository has at most {MAX_FILES} files", code="too_many_files")
    for path in written:
        folders = {path[:place] for place, letter in enumerate(path) if letter == "/"}
        if blocking := folders & left:
            message = f"{min(blocking)!r} is a file, and can hold no other"
            raise Conflict(message, code="path_taken")
    folders_left = {path[:place] for path in left for place, letter in enumerate(path) if letter == "/"}
    if taken := folders_left & written:
        raise Conflict(f"{min(taken)!r} is a folder", code="path_taken")


def _mode(change: Change, known: Entry | None) -> str:
    if change.executable is None:
        return MODES.get(known.kind if known else "file", "100644")
    return MODES["executable" if change.executable else "file"]


async def store_blobs(folder: Folder, contents: Sequence[bytes]) -> list[str]:
    """Store contents, by one process for all of them, and give their ids."""
    if not contents:
        return []
    parts: list[bytes] = []
    for content in contents:
        parts += [b"blob\nmark :1\ndata ", str(len(content)).encode(), b"\n", content, b"\nget-mark :1\n"]
    arguments = ("fast-import", "--quiet", "--done", "--date-format=raw-permissive")
    done = await folder.git.run(folder.path, *arguments, stdin=b"".join([*parts, b"done\n"]))
    ids = done.text.split()
    if len(ids) != len(contents):
        raise GitFailed("git stored otherwise than it was told")
    return ids


async def commit_tree(folder: Folder, tree: str, parents: Sequence[str], message: str, author: str) -> str:
    """Make a commit, which no ref names yet."""
    named = [argument for parent in parents if parent != NO_COMMIT for argument in ("-p", parent)]
    date = f"@{int(time.time())} +0000"
    # git leaves out of a name what it cannot hold, and fails where nothing is left
    name = author if any(letter.isalnum() for letter in author) else "somebody"
    made = await folder.git.run(
        folder.path,
        *("commit-tree", "--no-gpg-sign", tree, *named, "-F", "-"),
        stdin=message.encode(),
        environment={
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": _ADDRESS,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": "Lightning",
            "GIT_COMMITTER_EMAIL": _ADDRESS,
            "GIT_COMMITTER_DATE": date,
        },
    )
    return made.text.strip()


async def check_base(folder: Folder, base: str, tip: str) -> None:
    """Check that a commit is in the history of another.

    Raises:
      Conflict: It is not (``unknown_base``).
    """
    if not await folder.is_in_history(base, tip):
        raise Conflict("the base is no commit of this history; read it anew", code="unknown_base")


async def put_on_top(folder: Folder, base: str, tree: str, tip: str) -> str | None:
    """Put what a tree changes of a commit on top of a later one; None where that has it already.

    Raises:
      MergeConflict: Both changed the same.
      InvalidRequest: There would be too many files.
    """
    before = await folder.tree_of(tip)
    if base != tip:
        tree = await merged_tree(folder, await folder.tree_of(base), before, tree)
    return None if tree == before else tree


async def merged_tree(folder: Folder, base: str, ours: str, theirs: str) -> str:
    """Merge two trees that were one.

    Raises:
      MergeConflict: Both changed the same.
      InvalidRequest: One of the trees has too many files, or what comes of them would.
    """
    # in the midst of a history from outside there may be more than git can bear
    for each in {base, ours, theirs}:
        await folder.entries(each)
    if ours in {base, theirs}:
        return theirs
    if base == theirs:
        return ours
    # git 2.39 merges commits only, and finds their base itself: commits that nobody sees stand for the trees
    root = await commit_tree(folder, base, [], "base", "Lightning")
    left = await commit_tree(folder, ours, [root], "ours", "Lightning")
    right = await commit_tree(folder, theirs, [root], "theirs", "Lightning")
    merged = await folder.git.run(
        folder.path,
        *("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", left, right),
        statuses=(0, 1),
        max_bytes=32 * 1024 * 1024,
    )
    tree, *paths = [part for part in merged.data.decode(errors="replace").split("\0") if part]
    if merged.status:
        raise MergeConflict(paths)
    await folder.entries(tree)
    return tree
