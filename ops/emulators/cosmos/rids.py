"""Resource ids: a database's within a container's within a document's, in base64."""

import base64
import secrets
import struct


def database_rid() -> str:
    """Make the id of a new database: 4 bytes."""
    return _text(secrets.token_bytes(4))


def container_rid(database: str) -> str:
    """Make the id of a new container: its database's and 4 bytes, of which the highest bit is set."""
    own = bytearray(secrets.token_bytes(4))
    own[0] |= 0x80
    return _text(_bytes(database) + bytes(own))


def document_rid(container: str, number: int) -> str:
    """Give the id of a container's document: the container's and 8 bytes."""
    return _text(_bytes(container) + struct.pack("<Q", number))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw, altchars=b"+-").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, altchars=b"+-")
