"""The version of what a store holds, so that a program which could misread it does not begin."""

from typing import Final

from lightning.errors import StoreTooNew

#: Raised when a program that knows only the version before could misread or damage what is written.
#: What older programs pass over, such as a new field, does not raise it.
VERSION: Final = 1

#: Longer than anybody waits for a store that is merely busy.
RETRY_SECONDS: Final = 300.0


def check(found: int, place: str) -> None:
    """Refuse a store that a newer program wrote.

    Parameters:
      found: The version that the store says.
      place: Where it is, for people.

    Raises:
      StoreTooNew: This program does not know the version.
    """
    if found > VERSION:
        raise StoreTooNew(
            f"{place} was written by a newer Lightning (version {found} of what is stored; this one knows"
            f" {VERSION}): start that one again, or restore a backup of before into another place",
            retry_after=RETRY_SECONDS,
        )
