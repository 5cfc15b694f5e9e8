"""What is kept of an output: its begin and its end, as text that anybody may be shown."""

import re

#: What moves the cursor or sets colors (ECMA-48): for terminals alone.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")

#: Stands for what is no text.
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"

_UNSEEN = {code: _NO_TEXT for code in [*range(32), 127] if chr(code) not in "\t\n\r"}

#: With more than this share of it, an output is no text.
_BINARY_SHARE = 0.3


class Kept:
    """The begin and the end of an output, half of what is kept for each.

    Parameters:
      most_bytes: So much is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._half = most_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take a piece."""
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._half]
        self._size += len(data)

    @property
    def dropped(self) -> int:
        """How many bytes are not kept."""
        return self._size - len(self._head) - len(self._tail)

    def text(self) -> str:
        """Give it as text, which says where something was left out."""
        if not self.dropped:
            return _text(bytes(self._head + self._tail))
        note = f"\n[{self.dropped} bytes of {self._size} left out here]\n"
        return _text(bytes(self._head)) + note + _text(bytes(self._tail))


def _text(data: bytes) -> str:
    text = _ESCAPES.sub("", data.decode(errors="replace")).translate(_UNSEEN)
    if text.count(_NO_TEXT) > _BINARY_SHARE * len(text):
        return f"[{len(data)} bytes that are no text]"
    return text


def shorten(text: str, most_chars: int) -> str:
    """Shorten a text to so many characters at most, in its middle."""
    if len(text) <= most_chars:
        return text
    half = (most_chars - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
