"""The document in the account that says which version of documents is stored there."""

from contextlib import suppress
from typing import Final

from azure.core.exceptions import ResourceExistsError
from azure.cosmos.aio import ContainerProxy
from azure.cosmos.exceptions import CosmosBatchOperationError

from lightning.storage.version import VERSION, check

#: A partition of its own, which no account can have: theirs are UUIDs.
PARTITION: Final = "lightning-store"

_DOCUMENT: Final = "version"


async def check_version(users: ContainerProxy, address: str) -> None:
    """Refuse an account that a newer program wrote to; note the version in a new one.

    Parameters:
      users: The container of the accounts, which holds the note.
      address: The account, for people.

    Raises:
      StoreTooNew: This program does not know the version.
      AzureError: The account refuses.
    """
    version = await _version(users)
    if version is None:
        with suppress(ResourceExistsError):  # another process was faster, and may be newer
            await users.create_item({"id": _DOCUMENT, "userID": PARTITION, "version": VERSION})
        version = await _version(users)
    check(VERSION if version is None else version, f"the database at {address}")


async def _version(users: ContainerProxy) -> int | None:
    """Read the note by a batch, which the newest replica carries out; None where there is none."""
    try:
        found = await users.execute_item_batch([("read", (_DOCUMENT,))], PARTITION)
    except CosmosBatchOperationError as absent:
        if absent.status_code != 404:
            raise
        return None
    return found[0]["resourceBody"]["version"]
