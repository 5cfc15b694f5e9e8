"""Session tokens of Cosmos DB: how far whoever answers must have caught up.

A token names a range of partition keys and how many writes of it have happened: ``range:version#lsn``, and
``#region=lsn`` for each region; several stand behind each other with commas. Source: "Manage session
tokens in your application" and the SDK's own reading of them.
"""

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"([^:,#]{1,64}):(-?\d{1,20})#(\d{1,20})((?:#\d{1,20}=-?\d{1,20})*)")

#: No account of ours has so many ranges; a longer text is none of its tokens.
MAX_CHARACTERS: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one range has come.

    Parameters:
      version: Raised by the service when its regions change.
      lsn: The last write, by its log sequence number.
      regions: The last write of each region.
    """

    version: int
    lsn: int
    regions: dict[str, int]

    def merged(self, other: "Progress") -> "Progress":
        """Give what both have seen; of regions, those of the higher version count."""
        new, old = (self, other) if self.version >= other.version else (other, self)
        regions = {name: max(lsn, old.regions.get(name, lsn)) for name, lsn in new.regions.items()}
        if new.version == old.version:
            regions = {**old.regions, **regions}
        return Progress(new.version, max(new.lsn, old.lsn), regions)

    def __str__(self) -> str:
        regions = "".join(f"#{name}={lsn}" for name, lsn in self.regions.items())
        return f"{self.version}#{self.lsn}{regions}"


class SessionTokens:
    """The newest token of each range of one container."""

    def __init__(self) -> None:
        self._ranges: dict[str, Progress] = {}
        self._text: str | None = None

    def merge(self, text: str | None) -> None:
        """Take note of a token; what is none is passed over, as it promises nothing."""
        if text is None or text == self._text or len(text) > MAX_CHARACTERS:
            return
        for part in text.split(","):
            if (match := _TOKEN.fullmatch(part.strip())) is not None:
                self._note(match[1], _progress(match))

    def _note(self, name: str, progress: Progress) -> None:
        known = self._ranges.get(name)
        merged = progress if known is None else known.merged(progress)
        if merged != known:
            self._ranges[name] = merged
            self._text = None

    @property
    def text(self) -> str | None:
        """All of it as one token; None while nothing is known."""
        if self._text is None and self._ranges:
            self._text = ",".join(f"{name}:{progress}" for name, progress in self._ranges.items())
        return self._text

    def forget(self) -> None:
        """Ask for nothing any more."""
        self._ranges.clear()
        self._text = None


def _progress(match: re.Match[str]) -> Progress:
    regions = dict(part.split("=") for part in match[4].split("#")[1:])
    return Progress(int(match[2]), int(match[3]), {name: int(lsn) for name, lsn in regions.items()})
