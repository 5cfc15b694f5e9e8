"""Session tokens, and what reads with and without one see.

Source: "Consistency levels in Azure Cosmos DB"; the token's form is the one that SDKs take apart:
``{range}:{version}#{sequence number}``, joined by commas.
"""

from ops.emulators.cosmos.container import Range
from ops.emulators.cosmos.errors import READ_SESSION_NOT_AVAILABLE, CosmosError

#: The account's consistency; a request may ask for a weaker one.
ACCOUNT_LEVEL = "Session"
WEAKER_LEVELS = frozenset({"ConsistentPrefix", "Eventual"})

#: The version in tokens: the account has one region, which never failed over.
TOKEN_VERSION = "-1"  # noqa: S105 -- no secret


def token(held: Range, lsn: int) -> str:
    """Write the token of one range."""
    return f"{held.id}:{TOKEN_VERSION}#{lsn}"


def parse_token(text: str) -> dict[str, int]:
    """Read a token: the sequence number for each range.

    Raises:
      CosmosError: It is no token.
    """
    numbers: dict[str, int] = {}
    for part in text.split(","):
        held, _, progress = part.partition(":")
        segments = progress.split("#")
        if not held or len(segments) < 2 or not segments[1].isdecimal():
            raise CosmosError(400, f"The session token '{text[:100]}' is invalid.")
        numbers[held.strip()] = max(int(segments[1]), numbers.get(held.strip(), 0))
    return numbers


def read_lsn(held: Range, visible: int, level: str, text: str | None) -> int:
    """Decide at which sequence number a read is answered: as old as is allowed.

    Parameters:
      held: The range.
      visible: What a read without a token sees.
      level: The consistency level that the request asks for; empty: the account's.
      text: The request's session token.

    Raises:
      CosmosError: The level is stronger than the account's, or the token is from the future.
    """
    if level and level != ACCOUNT_LEVEL and level not in WEAKER_LEVELS:
        raise CosmosError(400, f"The consistency level {level} is stronger than that of the account.")
    wanted = parse_token(text).get(held.id, 0) if text and level not in WEAKER_LEVELS else 0
    if wanted > held.lsn:
        raise CosmosError(
            404,
            "The read session is not available for the input session token.",
            substatus=READ_SESSION_NOT_AVAILABLE,
        )
    return max(visible, wanted)
