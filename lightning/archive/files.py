"""The files of an archive: newline-delimited JSON, written whole or not at all, checked when they are read.

Each part carries where it ends and a checksum, so the parts that are there say how far an export has come.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from lightning.archive.shapes import FORMAT, VERSION, Header, PartBegin, PartEnd, Trailer
from lightning.errors import Conflict, NotFound, Permanent
from lightning.private_files import replace_private
from lightning.storage import Body

HEADER: Final = "header.json"
TRAILER: Final = "trailer.json"

Line = TypeVar("Line", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Part:
    """Documents of one container.

    Parameters:
      number: Its place, from 1 on.
      container: Where its documents belong.
      lines: Each document as JSON, ordered by user and id.
      end: The last line, which stands for all of it in the checksum of the archive.
      path: Its file.
    """

    number: int
    container: str
    lines: Sequence[bytes]
    end: bytes
    path: Path

    def bodies(self) -> Iterator[Body]:
        """Read its documents.

        Raises:
          Permanent: One of them is none (``archive_broken``).
        """
        return (_document(line, self.path) for line in self.lines)

    def last(self) -> tuple[str, str]:
        """Give user and id of the last document."""
        body = _document(self.lines[-1], self.path)
        return body["userID"], body["id"]


class Archive:
    """A directory with an archive.

    Parameters:
      folder: The directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def header(self) -> Header:
        """Read what the archive is.

        Raises:
          NotFound: There is none.
          Permanent: It is none, or of a newer version (``archive_broken``, ``archive_too_new``).
        """
        path = self.folder / HEADER
        if not path.is_file():
            raise NotFound(f"there is no export in {self.folder}; name the directory of one")
        said = _value(path.read_bytes(), path)
        if said.get("format") != FORMAT:
            raise _broken(path, "it is not the header of an export")
        if isinstance(said.get("version"), int) and said["version"] > VERSION:
            message = (
                f"{self.folder} is an export of version {said['version']}, and this Lightning knows only"
                f" those up to {VERSION}; use a newer one"
            )
            raise Permanent(message, code="archive_too_new")
        return _read(Header, path.read_bytes(), path)

    def trailer(self) -> Trailer | None:
        """Read what the archive holds; None while it is not complete."""
        path = self.folder / TRAILER
        return _read(Trailer, path.read_bytes(), path) if path.is_file() else None

    def part(self, number: int) -> Part | None:
        """Read a part; None when there is none of that number.

        Raises:
          Permanent: It is not as it was written (``archive_broken``).
        """
        path = self._path(number)
        if not path.is_file():
            return None
        lines = path.read_bytes().splitlines(keepends=True)
        if len(lines) < 3:
            raise _broken(path, "it is cut off")
        begin, end = _read(PartBegin, lines[0], path), _read(PartEnd, lines[-1], path)
        if hashlib.sha256(b"".join(lines[:-1])).hexdigest() != end.sha256:
            raise _broken(path, "its checksum is another")
        if (begin.part, end.documents) != (number, len(lines) - 2):
            raise _broken(path, "it is another part than its name says")
        return Part(number, begin.container, [line[:-1] for line in lines[1:-1]], lines[-1], path)

    def parts(self) -> Iterator[Part]:
        """Read all parts in order."""
        number = 1
        while (part := self.part(number)) is not None:
            yield part
            number += 1

    def last_part(self) -> Part | None:
        """Read the part that was written last."""
        numbers = [int(path.stem.removeprefix("part-")) for path in self.folder.glob("part-*.ndjson")]
        return self.part(max(numbers)) if numbers else None

    def write_header(self, header: Header) -> None:
        """Begin an archive."""
        self._place(HEADER, header.model_dump_json() + "\n")

    def write_part(self, number: int, container: str, lines: Sequence[bytes]) -> None:
        """Add a part, durably."""
        begin = PartBegin(part=number, container=container).model_dump_json().encode()
        text = b"".join(line + b"\n" for line in (begin, *lines))
        end = PartEnd(documents=len(lines), sha256=hashlib.sha256(text).hexdigest())
        self._place(self._path(number).name, (text + end.model_dump_json().encode() + b"\n").decode())

    def write_trailer(self, trailer: Trailer) -> None:
        """Say that the archive is complete."""
        self._place(TRAILER, trailer.model_dump_json() + "\n")

    @contextmanager
    def alone(self) -> Generator[None]:
        """Make the directory if it is missing, let nobody else write to it, and clear what a crash left.

        Raises:
          Conflict: Somebody writes to it (``archive_busy``), or other files are in it (``not_empty``).
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another export writes to {self.folder}; wait for it"
                raise Conflict(message, code="archive_busy") from None
            for name in (HEADER, TRAILER, "part-*.ndjson"):
                for draft in self.folder.glob(f".{name}.*"):
                    draft.unlink()
            if not (self.folder / HEADER).exists() and any(self.folder.iterdir()):
                message = f"{self.folder} holds other files; name a directory that is new or empty"
                raise Conflict(message, code="not_empty")
            yield
        finally:
            os.close(handle)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.ndjson"

    def _place(self, name: str, text: str) -> None:
        replace_private(self.folder / name, text)
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)  # else the name may be lost with the power, though the file is not
        finally:
            os.close(handle)


def _document(line: bytes, path: Path) -> Body:
    body = _value(line, path)
    if not all(isinstance(body.get(name), str) for name in ("id", "userID")):
        raise _broken(path, "it holds what is no document")
    return body


def _value(line: bytes, path: Path) -> Body:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _broken(path, "it is no JSON") from None
    if not isinstance(value, dict):
        raise _broken(path, "it is no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _read(shape: type[Line], line: bytes, path: Path) -> Line:
    try:
        return shape.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _broken(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _broken(path: Path, why: str) -> Permanent:
    message = f"{path} is damaged ({why}); take it from a backup, or export again into another directory"
    return Permanent(message, code="archive_broken")
