"""Opens the store on Azure Cosmos DB: where the account is, and who asks it."""

from collections.abc import Mapping

from lightning.azure_identity import AsyncIdentity, Identity
from lightning.storage.cosmos import CosmosStorage
from lightning.storage.cosmos_account import Account


def open_cosmos(
    *,
    connection: str | None,
    endpoint: str | None,
    identity: Identity | None,
    database: str,
    containers: Mapping[str, str],
    create: bool,
    expire_seconds: int | None = None,
) -> CosmosStorage:
    """Open the account that the settings name; nothing is asked of it before the first operation.

    Parameters:
      connection: The account's connection string.
      endpoint: Its address, when there is no connection string.
      identity: Who asks it then.
      database: The name of the database.
      containers: The name there of each of `CONTAINERS`.
      create: Whether to make the database and the containers that are missing.
      expire_seconds: How long after their last write documents that are over are removed; None never.

    Raises:
      ValueError: It is not said where the account is, or who asks it.
    """
    address, credential = where_and_who(connection, endpoint, identity)
    account = Account(address, credential, database=database, names=containers, create=create)
    return CosmosStorage(account, expire_seconds=expire_seconds)


def where_and_who(
    connection: str | None, endpoint: str | None, identity: Identity | None
) -> tuple[str, str | AsyncIdentity]:
    """Give the account's address, and what signs the requests to it; see `open_cosmos`.

    Raises:
      ValueError: It is not said where the account is, or who asks it.
    """
    if connection is not None:
        return read_connection(connection)
    if endpoint is None or identity is None:
        raise ValueError("give either connection or endpoint and identity")
    return endpoint, AsyncIdentity(identity)


def read_connection(text: str) -> tuple[str, str]:
    """Read a connection string: where the account is, and its key.

    Raises:
      ValueError: One of them is missing.
    """
    parts = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    try:
        return parts["AccountEndpoint"], parts["AccountKey"]
    except KeyError as missing:
        message = f"the connection string of Cosmos DB has no {missing.args[0]}"
        raise ValueError(message) from None
