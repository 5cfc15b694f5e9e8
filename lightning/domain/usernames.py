"""Usernames: the form under which one is unique, and the id that follows from it."""

import unicodedata
from typing import Final

from lightning.domain.passwords import InvalidAccount
from lightning.ids import account_id

MIN_USERNAME_CHARS: Final = 3
MAX_USERNAME_CHARS: Final = 64

#: Longer ones are refused as they come: composing characters shortens a name, but not by so much.
_MAX_RAW_CHARS: Final = 4 * MAX_USERNAME_CHARS
_PUNCTUATION: Final = frozenset("._-@+")


def account_id_of(username: str) -> str:
    """Give the id that an account of this name has; one that no account has, if it can be no name."""
    try:
        return account_id(normal_username(username))
    except InvalidAccount:
        # no normal name holds a line break, so this id meets no account's
        raw = username[:_MAX_RAW_CHARS].encode(errors="replace").decode()
        return account_id(f"\n{raw}")


def normal_username(username: str) -> str:
    """Bring a username into the form under which it is unique: NFKC, case folded.

    Raises:
      InvalidAccount: It is no username.
    """
    composed = unicodedata.normalize("NFKC", username[:_MAX_RAW_CHARS])
    name = unicodedata.normalize("NFKC", composed.casefold())
    if len(username) > _MAX_RAW_CHARS or not MIN_USERNAME_CHARS <= len(name) <= MAX_USERNAME_CHARS:
        message = f"a username has {MIN_USERNAME_CHARS} to {MAX_USERNAME_CHARS} characters"
        raise InvalidAccount(message, pointer="/username")
    if not all(_in_username(character) for character in name):
        raise InvalidAccount("a username has only letters, digits and . _ - @ +", pointer="/username")
    return name


def _in_username(character: str) -> bool:
    category = unicodedata.category(character)
    return character in _PUNCTUATION or category.startswith("L") or category == "Nd"
