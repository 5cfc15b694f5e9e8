"""What two trees differ in, and what is in one: for people to read, and for a run to work on."""

import io
import re
import tarfile
from collections.abc import Sequence
from typing import Final

from lightning.errors import InvalidRequest
from lightning.repositories.git import Folder
from lightning.repositories.port import MAX_FILE_BYTES, NO_COMMIT, Archive, Changed, Diff, Entry, GitFailed

MAX_PATCH_BYTES: Final = 256 * 1024

#: Bytes of the files of an archive.
MAX_ARCHIVE_BYTES: Final = 128 * 1024 * 1024

_MAX_NAMES_BYTES: Final = 32 * 1024 * 1024

_RAW: Final = re.compile(r":[0-7]{6} [0-7]{6} [0-9a-f]{40} [0-9a-f]{40} ([A-Z])[0-9]*")

_PLAIN: Final = ("-r", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")


async def diff(folder: Folder, base: str, commit: str) -> Diff:
    """Tell what two commits differ in; see `Repository.diff`."""
    trees = [await folder.tree_of(base), await folder.tree_of(commit)]
    names = await folder.git.run(
        folder.path, *("diff-tree", *_PLAIN, "-z", "--raw", "--no-abbrev", *trees), max_bytes=_MAX_NAMES_BYTES
    )
    patch = await folder.git.run(
        folder.path, *("diff-tree", *_PLAIN, "--patch", *trees), max_bytes=MAX_PATCH_BYTES, cut=True
    )
    return Diff(base, commit, _changed(names.text.split("\0")), patch.text, patch.truncated)


async def first_parent(folder: Folder, commit: str) -> str:
    """Give the commit that another follows; `NO_COMMIT` for the first one."""
    if commit == NO_COMMIT:
        return NO_COMMIT
    told = await folder.git.run(folder.path, "rev-list", "--parents", "--max-count=1", commit, "--")
    return [*told.text.split(), NO_COMMIT][1]


async def archive(folder: Folder, commit: str) -> Archive:
    """Put the files of a commit into a tar; see `Repository.archive`.

    Raises:
      InvalidRequest: They are too large together (``archive_too_large``).
    """
    entries = await folder.entries(commit)
    packed = [each for each in entries if _is_packed(each)]
    total = sum(each.size or 0 for each in packed)
    if total > MAX_ARCHIVE_BYTES:
        message = f"the files have {total} bytes; an archive holds {MAX_ARCHIVE_BYTES}"
        raise InvalidRequest(message, code="archive_too_large")
    contents = await _contents(folder, packed, total)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each, content in zip(packed, contents, strict=True):
            about = tarfile.TarInfo(each.path)
            about.size = len(content)
            about.mode = 0o755 if each.kind == "executable" else 0o644
            tar.addfile(about, io.BytesIO(content))
    left_out = [each.path for each in entries if not _is_packed(each)]
    return Archive(commit, buffer.getvalue(), left_out)


def _is_packed(entry: Entry) -> bool:
    return entry.kind in {"file", "executable"} and (entry.size or 0) <= MAX_FILE_BYTES


async def _contents(folder: Folder, entries: Sequence[Entry], total: int) -> list[bytes]:
    asked = "".join(f"{each.id}\n" for each in entries).encode()
    bound = total + 100 * len(entries)
    printed = await folder.git.run(folder.path, "cat-file", "--batch", stdin=asked, max_bytes=bound)
    found: list[bytes] = []
    data, place = printed.data, 0
    for each in entries:
        start = data.find(b"\n", place) + 1
        end = start + (each.size or 0)
        if not start or data[end : end + 1] != b"\n":
            raise GitFailed("git gives files otherwise than expected")
        found.append(data[start:end])
        place = end + 1
    return found


def _changed(parts: list[str]) -> list[Changed]:
    found: list[Changed] = []
    rest = iter(parts)
    for part in rest:
        match = _RAW.fullmatch(part)
        if match is None:
            continue
        path = next(rest)
        match match[1]:
            case "A":
                found.append(Changed(path, "added", None))
            case "D":
                found.append(Changed(path, "deleted", None))
            case "R":
                found.append(Changed(next(rest), "renamed", path))
            case "T":
                found.append(Changed(path, "retyped", None))
            case _:
                found.append(Changed(path, "changed", None))
    return found
