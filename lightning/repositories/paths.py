"""Which paths a repository may hold: none that leads out of a folder, or into git's own, on any system.

The variants of ``.git`` are those that git's own `verify_path` and `fsck` refuse: in other cases, in the
short names of NTFS, before a stream or trailing dots and spaces there, and with characters that HFS+ passes
over.
"""

import re
from typing import Final

from lightning.errors import InvalidRequest

MAX_PATH_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 255

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

#: HFS+ leaves these out when it compares names.
_IGNORED: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")

#: How NTFS abbreviates `.git`, and what it cuts off behind a name.
_NTFS_GIT: Final = re.compile(r"(\.git|git~[0-9]+)[ .]*(:.*)?", re.IGNORECASE)


def why_not(path: str) -> str | None:
    """Say why a path may not be; None where it may."""
    if not path or _CONTROL.search(path):
        return "it is empty or holds control characters"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path:
        return "it holds a backslash; folders are separated by /"
    return next(filter(None, map(_why_no_name, path.split("/"))), None)


def _why_no_name(name: str) -> str | None:
    if name in {"", ".", ".."}:
        return "it is relative, without empty parts, . and .."
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"a name in it is longer than {MAX_NAME_BYTES} bytes"
    if _NTFS_GIT.fullmatch(_IGNORED.sub("", name)):
        return "it would lead into git's own folder"
    return None


def check_path(path: str) -> str:
    """Check a path.

    Raises:
      InvalidRequest: It may not be (``invalid_path``).
    """
    reason = why_not(path)
    if reason is not None:
        shown = _CONTROL.sub("?", path[:200])
        raise InvalidRequest(f"the path {shown!r} cannot be: {reason}", code="invalid_path")
    return path
