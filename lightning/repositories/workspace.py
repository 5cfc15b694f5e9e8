"""The files of a commit as a tar, for a run to work on, and the tree of what it made of them.

Neither is ever in memory as a whole: contents go through it in portions.
"""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from lightning.errors import InvalidRequest
from lightning.repositories.content import Archive, Entry
from lightning.repositories.git import Folder
from lightning.repositories.port import MAX_ARCHIVE_BYTES, MAX_FILE_BYTES, GitFailed
from lightning.repositories.tar import Packed, read_tar
from lightning.repositories.writing import MODES, check_places, store_blobs, write_tree

#: Bytes of contents in memory at a time, and files.
_PORTION_BYTES: Final = 8 * 1024 * 1024
_PORTION_FILES: Final = 1000


async def archive(folder: Folder, commit: str, into: IO[bytes]) -> Archive:
    """Write the files of a commit as a tar; see `Repository.archive`."""
    entries = await folder.entries(commit)
    packed = [each for each in entries if _is_packed(each)]
    total = sum(each.size or 0 for each in packed)
    if total > MAX_ARCHIVE_BYTES:
        message = f"the files have {total} bytes; an archive holds {MAX_ARCHIVE_BYTES}"
        raise InvalidRequest(message, code="archive_too_large")
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for some in _portions(packed):
            await asyncio.to_thread(_add, tar, some, await _contents(folder, some))
    return Archive(commit, [each.path for each in entries if not _is_packed(each)])


async def exchanged_tree(folder: Folder, commit: str, tar: IO[bytes]) -> str:
    """Make the tree of a commit with its files exchanged for those of a tar; see `Repository.exchange`."""
    known = {entry.path: entry for entry in await folder.entries(commit)}
    tar.seek(0)
    files = read_tar(tar)
    seen: set[str] = set()
    written: dict[str, str] = {}
    while not (portion := await asyncio.to_thread(_changed, files, known)).is_last:
        seen |= portion.seen
        blobs = await store_blobs(folder, [each.data for each in portion.changed])
        for each, blob in zip(portion.changed, blobs, strict=True):
            written[each.path] = f"{_mode(each)} {blob}"
    removed = [path for path, entry in known.items() if _is_packed(entry) and path not in seen]
    if not removed and not written:
        return await folder.tree_of(commit)
    check_places(known, removed, written)
    return await write_tree(folder, commit, removed, written)


@dataclass(slots=True)
class _Portion:
    """Some files of a tar, and those of them that are not as they were."""

    seen: set[str] = field(default_factory=set[str])
    changed: list[Packed] = field(default_factory=list[Packed])

    @property
    def is_last(self) -> bool:
        return not self.seen


def _changed(files: Iterator[Packed], known: Mapping[str, Entry]) -> _Portion:
    """Read the next files, until those that were changed are enough for once."""
    portion, size = _Portion(), 0
    for each in files:
        portion.seen.add(each.path)
        entry = known.get(each.path)
        if entry is None or MODES.get(entry.kind) != _mode(each) or entry.id != _blob_id(each.data):
            portion.changed.append(each)
            size += len(each.data)
        if size >= _PORTION_BYTES or len(portion.changed) >= _PORTION_FILES:
            break
    return portion


def _mode(file: Packed) -> str:
    return MODES["executable" if file.executable else "file"]


def _blob_id(data: bytes) -> str:
    """Give the id under which git knows a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _is_packed(entry: Entry) -> bool:
    return entry.kind in MODES and (entry.size or 0) <= MAX_FILE_BYTES


def _portions(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    size = 0
    for each in entries:
        if some and (size + (each.size or 0) > _PORTION_BYTES or len(some) >= _PORTION_FILES):
            yield some
            some, size = [], 0
        some.append(each)
        size += each.size or 0
    if some:
        yield some


async def _contents(folder: Folder, entries: Sequence[Entry]) -> list[bytes]:
    asked = "".join(f"{each.id}\n" for each in entries).encode()
    bound = sum(each.size or 0 for each in entries) + 100 * len(entries)
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


def _add(tar: tarfile.TarFile, entries: Sequence[Entry], contents: Sequence[bytes]) -> None:
    for each, content in zip(entries, contents, strict=True):
        about = tarfile.TarInfo(each.path)
        about.size = len(content)
        about.mode = 0o755 if each.kind == "executable" else 0o644
        tar.addfile(about, io.BytesIO(content))
