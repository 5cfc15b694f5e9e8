"""Reading a tar that anybody may have made: plain files alone, in one pass, in bounds.

What `tar`, Node.js and Python write is understood: ustar and pax (POSIX.1-2001), and GNU's long names.
Whatever else a tar may be is refused, never guessed. Python's own `tarfile` does not read here: it follows
links, knows sparse files, and a header can be made to take it hours (CVE-2024-6232).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from lightning.errors import InvalidRequest
from lightning.repositories.paths import check_path
from lightning.repositories.port import MAX_ARCHIVE_BYTES, MAX_FILE_BYTES, MAX_FILES

_BLOCK: Final = 512
_END: Final = bytes(_BLOCK)

#: Of a header that says more about the next member, such as a name that is too long for its own.
_MAX_EXTRA_BYTES: Final = 64 * 1024

_FILES: Final = frozenset({b"0", b"\0", b"7"})
_FOLDER: Final = b"5"
_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_ABOUT_OTHERS: Final = frozenset({_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_LINK})

#: What a header for all members may say: nothing that these would be read by.
_HARMLESS: Final = frozenset({"comment", "mtime", "atime", "uid", "gid", "uname", "gname"})


@dataclass(frozen=True, slots=True)
class Packed:
    """A file of a tar.

    Parameters:
      path: Its path, checked.
      data: Its content.
      executable: Whether its owner may run it.
    """

    path: str
    data: bytes
    executable: bool


@dataclass(slots=True)
class _Next:
    """What was said before a member about it."""

    name: bytes | None = None
    size: int | None = None


class _Bounds:
    """What a tar may hold, while it is read."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._folders = 0
        self._bytes = 0

    def take_folder(self, size: int) -> None:
        self._folders += 1
        if self._folders > MAX_FILES:
            raise _too_many()
        if size:
            raise _invalid("a folder in it has a content")

    def take_file(self, path: str, size: int) -> None:
        if path in self._seen:
            raise _invalid(f"it holds {path!r} twice")
        self._seen.add(path)
        if len(self._seen) > MAX_FILES:
            raise _too_many()
        if size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path!r} has over {MAX_FILE_BYTES} bytes", code="file_too_large")
        self._bytes += size
        if self._bytes > MAX_ARCHIVE_BYTES:
            message = f"the files have over {MAX_ARCHIVE_BYTES} bytes together"
            raise InvalidRequest(message, code="archive_too_large")


def read_tar(source: IO[bytes]) -> Iterator[Packed]:
    """Read the files of a tar, in its order.

    Parameters:
      source: The tar, from its beginning.

    Raises:
      InvalidRequest: It is cut off, or no tar as they are taken (``invalid_tar``); it holds a path that may
        not be (``invalid_path``), a link, a device or the like (``not_a_file``), or too much
        (``file_too_large``, ``too_many_files``, ``archive_too_large``).
    """
    bounds, said = _Bounds(), _Next()
    while (header := _exactly(source, _BLOCK)) != _END:
        _check_sum(header)
        kind, size = header[156:157], _number(header[124:136])
        if kind in _ABOUT_OTHERS:
            _hear(said, kind, _padded(source, size, _MAX_EXTRA_BYTES))
            continue
        name = _name(header) if said.name is None else said.name
        size = size if said.size is None else said.size
        said = _Next()
        path = _path(name)
        if kind == _FOLDER or (kind == b"\0" and name.endswith(b"/")):
            bounds.take_folder(size)
            continue
        if kind not in _FILES or not path:
            message = f"{path or '.'!r} is a link, a device or the like; leave it out"
            raise InvalidRequest(message, code="not_a_file")
        bounds.take_file(path, size)
        yield Packed(path, _padded(source, size, MAX_FILE_BYTES), bool(_number(header[100:108]) & 0o100))
    # what was cut off just between two members would read as if the rest had been removed
    if _exactly(source, _BLOCK) != _END:
        raise _invalid("it does not end as a tar does")


def _hear(said: _Next, kind: bytes, data: bytes) -> None:
    """Note what a header says about the next member."""
    if kind == _LONG_NAME:
        said.name = data.rstrip(b"\0")
    elif kind == _PAX_OF_ALL:
        if strange := set(_records(data)) - _HARMLESS:
            raise _invalid(f"a header for all of it says {min(strange)[:50]!r}")
    elif kind == _PAX:
        records = _records(data)
        if any(key.startswith("GNU.sparse") for key in records):
            raise _invalid("it holds a sparse file; make it without --sparse")
        said.name = records.get("path", said.name)
        if (size := records.get("size")) is not None:
            said.size = _decimal(size)


def _records(data: bytes) -> dict[str, bytes]:
    """Read the records of a pax header: each is its own length, a key and a value."""
    found: dict[str, bytes] = {}
    place = 0
    while place < len(data):
        space = data.find(b" ", place, place + 8)
        end = place + _decimal(data[place:space]) if space > place else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not place < end <= len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise _invalid("a header in it cannot be read")
        found[key.decode(errors="replace")] = value
        place = end
    return found


def _path(name: bytes) -> str:
    """Read a name; what `tar c .` writes before it is cut off, and nothing is left of the folder itself."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        shown = ascii(name[:200].decode(errors="replace"))
        raise InvalidRequest(f"the path {shown} cannot be: it is not UTF-8", code="invalid_path") from None
    text = text.removesuffix("/").removeprefix("./")
    return check_path(text) if text not in {"", "."} or name.startswith(b"/") else ""


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _check_sum(header: bytes) -> None:
    if sum(header[:148]) + sum(header[156:]) + 8 * 0x20 != _number(header[148:156]):
        raise _invalid("a header in it is damaged")


def _number(field: bytes) -> int:
    """Read a number in octal, or in GNU's way for large ones."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if text.strip(b"01234567"):
        raise _invalid("a number in it cannot be read")
    return int(text or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:
        raise _invalid("a number in it cannot be read")
    return int(text)


def _padded(source: IO[bytes], size: int, most: int) -> bytes:
    if size > most:
        raise _invalid("a header in it is too long")
    data = _exactly(source, size)
    _exactly(source, -size % _BLOCK)
    return data


def _exactly(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise _invalid("it is cut off")
    return data


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"the tar cannot be taken: {reason}", code="invalid_tar")


def _too_many() -> InvalidRequest:
    return InvalidRequest(f"a repository has at most {MAX_FILES} files", code="too_many_files")
