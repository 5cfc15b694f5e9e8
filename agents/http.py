"""HTTP/1.1 for agents: one request a connection (RFC 9110, RFC 9112).

The standard library's `http.client` brings in its parser of mail, and takes longer to load than all else that
a small run does.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

TYPE_CHECKING = False  # `typing` takes long to load, too
if TYPE_CHECKING:
    from typing import IO

_CHUNK_BYTES = 256 * 1024

#: No line of a header is longer, and there are no more lines.
_MAX_LINE_BYTES = 64 * 1024
_MAX_HEADERS = 100

_PORTS = {"http": 80, "https": 443}


class HttpError(OSError):
    """The answer is not HTTP, or was cut off."""


class Response:
    """An answer, whose content is read once.

    Parameters:
      status: Its status.
      headers: Its headers; names are in lower case.
      content: Its content, piece by piece.
    """

    def __init__(self, status: int, headers: Mapping[str, str], content: Iterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        return self._content

    def read(self) -> bytes:
        """Read all that is left of the content."""
        return b"".join(self._content)


@contextmanager
def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | IO[bytes] | None = None,
    *,
    timeout_seconds: float,
) -> Generator[Response]:
    """Send a request, and give the answer, which can be read while the block lasts.

    Parameters:
      method: The method.
      url: Absolute, of scheme ``http`` or ``https``; what it names is encoded already.
      headers: Those that the request has beside ``host``, ``connection`` and ``content-length``.
      body: What is sent; a file from where it stands to its end.
      timeout_seconds: So long is waited for each piece of the answer.

    Raises:
      OSError: Nobody is there, or the connection broke; an `HttpError` if the answer is none.
      ValueError: The URL or a header cannot be sent.
    """
    scheme, host, port, path = _split(url)
    size = 0 if body is None else len(body) if isinstance(body, bytes) else _left(body)
    authority = url.partition("://")[2].partition("/")[0]
    said = {"host": authority, "connection": "close", **headers}
    if body is not None or method not in {"GET", "HEAD"}:
        said["content-length"] = str(size)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(_line(name, said[name]) for name in said) + "\r\n"
    with _connect(scheme, host, port, timeout_seconds) as connection:
        try:
            connection.sendall(head.encode("latin-1") + (body if isinstance(body, bytes) else b""))
            if body is not None and not isinstance(body, bytes):
                while piece := body.read(_CHUNK_BYTES):
                    connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who refuses a request may not read all of it before the answer
        with connection.makefile("rb") as file:
            yield _answer(file, method)


def _connect(scheme: str, host: str, port: int, timeout_seconds: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout_seconds)
    if scheme == "http":
        return connection
    import ssl  # noqa: PLC0415 -- slow to load, and a sandbox needs none

    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _split(url: str) -> tuple[str, str, int, str]:
    """Take a URL apart: scheme, host, port, path with its query."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    plain = url.isascii() and url.isprintable() and " " not in url
    if scheme not in _PORTS or not authority or "@" in authority or not plain:
        raise ValueError(f"no address of HTTP: {url!r}")
    host, port = authority, ""
    if not authority.endswith("]"):
        before, colon, after = authority.rpartition(":")
        host, port = (before, after) if colon else (authority, "")
    return scheme, host.strip("[]"), int(port) if port else _PORTS[scheme], (slash + path) or "/"


def _line(name: str, value: str) -> str:
    if not (name + value).isprintable():
        raise ValueError(f"the header {name!r} cannot be sent")
    return f"{name}: {value}\r\n"


def _left(file: IO[bytes]) -> int:
    at = file.tell()
    size = file.seek(0, 2) - at
    file.seek(at)
    return size


def _answer(file: IO[bytes], method: str) -> Response:
    status = 100
    headers: dict[str, str] = {}
    while 100 <= status < 200:  # provisional answers come before the one that counts
        status, headers = _status(_read_line(file)), _headers(file)
    if method == "HEAD" or status in {204, 304}:
        return Response(status, headers, iter(()))
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked":
            raise HttpError(f"the answer is encoded in an unknown way: {coding}")
        return Response(status, headers, _chunks(file))
    if length is None:
        return Response(status, headers, iter(lambda: file.read(_CHUNK_BYTES), b""))
    if not length.isdecimal():
        raise HttpError("the answer has an impossible length")
    return Response(status, headers, _exactly(file, int(length)))


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise HttpError("the answer is not HTTP")
    return int(code)


def _headers(file: IO[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS + 1):
        line = _read_line(file)
        if not line:
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise HttpError("the answer is not HTTP")
        headers[name.strip().lower()] = value.strip()
    raise HttpError("the answer has too many headers")


def _read_line(file: IO[bytes]) -> bytes:
    line = file.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise HttpError("the answer was cut off")
    return line.rstrip(b"\r\n")


def _exactly(file: IO[bytes], left: int) -> Iterator[bytes]:
    while left:
        piece = file.read(min(left, _CHUNK_BYTES))
        if not piece:
            raise HttpError("the answer was cut off")
        left -= len(piece)
        yield piece


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while True:
        size = _read_line(file).partition(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            raise HttpError("the answer is not HTTP")
        length = int(size, 16)
        if not length:
            _headers(file)  # what follows the last chunk
            return
        yield from _exactly(file, length)
        if _read_line(file):
            raise HttpError("the answer is not HTTP")
