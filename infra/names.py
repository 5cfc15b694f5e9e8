"""The names of the resources: all follow from two words, so a person can tell them beforehand."""

import re
from dataclasses import dataclass
from typing import Final

#: Longer ones would not leave room for the rest in the name of a vault, which has 24 letters at most.
_WORD: Final = re.compile(r"[a-z][a-z0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one stack.

    Parameters:
      word: What makes them unique in all of Azure: 2 to 10 small letters and digits.
      environment: The stack.

    Raises:
      ValueError: Azure would not take the names.
    """

    word: str
    environment: str

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.word):
            raise ValueError(
                f"{self.word!r} cannot begin the names of resources: take 2 to 10 small letters and digits, "
                "a letter first (pulumi config set name acme)"
            )

    def of(self, kind: str, region: int = 1) -> str:
        """Name a resource, such as ``acme-prod-bus``; in the second region ``acme-prod-bus2``."""
        return f"{self.word}-{self.environment}-{kind}{region if region > 1 else ''}"

    def plain(self, kind: str = "") -> str:
        """Name a resource whose kind takes letters and digits alone."""
        return f"{self.word}{self.environment}{kind}"
