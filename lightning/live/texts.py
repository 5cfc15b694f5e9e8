"""Texts that grow, answers or logs, as far as they have not been told: joined, cut into pieces, bounded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

#: Names, numbers and punctuation around what varies.
FRAME_BYTES = 100


@dataclass(slots=True)
class _Text:
    """What has come of one text and waits."""

    user_id: str
    names: Mapping[str, str | int]
    offset: int
    texts: list[str] = field(default_factory=list[str])
    characters: int = 0


class Texts:
    """Collects pieces of texts, contiguous ones of one text joined; the oldest give way.

    Parameters:
      most: Characters that wait, of all texts together.
      each: Characters that wait of one text.
      piece: Characters of one piece that is given out: at most six bytes each in JSON.
    """

    def __init__(self, most: int, *, each: int, piece: int) -> None:
        self.dropped = 0  #: how often something gave way
        self._most = most
        self._each = each
        self._piece = piece
        self._texts: dict[str, _Text] = {}
        self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._texts)

    def holds(self, key: str) -> bool:
        """Tell whether something of a text waits."""
        return key in self._texts

    def add(self, user_id: str, key: str, names: Mapping[str, str | int], offset: int, text: str) -> None:
        """Note a piece; what does not go on where the one before ended takes its place.

        Parameters:
          user_id: Whose it is.
          key: Which text.
          names: The fields of its frames, but for the offset and the piece itself.
          offset: Code points of the text before the piece.
          text: The piece.
        """
        known = self._texts.get(key)
        if known is None or known.names != names or known.offset + known.characters != offset:
            self._forget(key)
            known = self._texts[key] = _Text(user_id, names, offset)
        known.texts.append(_sendable(text))
        known.characters += len(text)
        self._characters += len(text)
        if known.characters > self._each:
            self._shorten(key, known, "".join(known.texts), known.characters - self._each)
            self.dropped += 1
        while self._characters > self._most:
            self._forget(next(iter(self._texts)))
            self.dropped += 1

    def take(self, left: int) -> tuple[dict[str, list[dict[str, Any]]], set[str]]:
        """Give as many pieces as fit into so many bytes, by user, and the keys of their texts."""
        taken: dict[str, list[dict[str, Any]]] = {}
        keys: set[str] = set()
        while self._texts and left > 0:
            key, known = next(iter(self._texts.items()))
            text = "".join(known.texts)
            written = orjson.dumps(text[: self._piece])
            left -= len(written) + size(known.user_id, *map(str, known.names.values())) + FRAME_BYTES
            if left < 0 and keys:
                break
            keys.add(key)
            piece = {**known.names, "offset": known.offset, "text": orjson.Fragment(written)}
            taken.setdefault(known.user_id, []).append(piece)
            self._shorten(key, known, text, self._piece)
        return taken, keys

    def _shorten(self, key: str, known: _Text, text: str, characters: int) -> None:
        """Take the beginning of a text away."""
        if len(text) <= characters:
            self._forget(key)
            return
        known.texts = [text[characters:]]
        known.offset += characters
        known.characters -= characters
        self._characters -= characters

    def _forget(self, key: str) -> None:
        known = self._texts.pop(key, None)
        if known is not None:
            self._characters -= known.characters


def size(*names: str) -> int:
    """Give the bytes of names in JSON."""
    return sum(len(orjson.dumps(name)) for name in names)


def _sendable(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot carry; the length stays."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in text)
    return text
