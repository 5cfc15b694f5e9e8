"""Whether the containers of Cosmos DB are there and as the code wants them, and whether we may write."""

import secrets
from collections.abc import AsyncIterator
from typing import Final

from lightning.errors import LightningError
from lightning.settings import Settings
from lightning.storage import Create, Delete, open_storage
from lightning.storage.cosmos_inspection import inspect
from ops.checkup.check import Check
from ops.checkup.commands import first_word, of_resource, who

KIND: Final = "Microsoft.DocumentDB/databaseAccounts"

#: Cosmos DB Built-in Data Contributor.
ROLE: Final = "00000000-0000-0000-0000-000000000002"

#: The partition of the document that is written, which no user can have: usernames get ids.
PARTITION: Final = "lightning-doctor"

#: It is gone by itself after so long, should the process die before it removes it.
DOCUMENT_SECONDS: Final = 60


async def look(settings: Settings) -> AsyncIterator[Check]:
    """Look at the account that the settings name."""
    if settings.storage != "cosmos":
        yield Check("store", "skipped", f"the store is {settings.storage}")
        return
    fine = True
    for each in await inspect(settings):
        name = f"container {each.name}"
        if each.error is not None:
            yield Check(name, "failed", each.error.message, _remedy(settings))
            return
        if each.missing:
            detail = f"there is none in the database {settings.cosmos_database}, or no such database"
            remedy = "pulumi up in infra/, or name another: COSMOS_DATABASE, *_CONTAINER"
            yield Check(name, "failed", detail, remedy)
        if each.wrong:
            remedy = "pulumi up in infra/ sets indexes while all goes on; for another partition, make it anew"
            yield Check(name, "failed", "; ".join(each.wrong), remedy)
        fine = fine and not each.missing and not each.wrong
    if not fine:
        yield Check("store", "skipped", "nothing is written before the containers are in order")
        return
    yield Check(
        "containers of the store", "ok", "all are there, with the partition and indexes that the code wants"
    )
    yield await _written(settings)


async def _written(settings: Settings) -> Check:
    storage = open_storage(settings)
    name = secrets.token_hex(8)
    document = {"id": name, "userID": PARTITION, "ttl": DOCUMENT_SECONDS}
    try:
        await storage.batch("events", PARTITION, [Create(document)])
        try:
            await storage.get("events", PARTITION, name)
            await storage.query("events", PARTITION)
        finally:
            await storage.batch("events", PARTITION, [Delete(name)])
    except LightningError as error:
        return Check("store", "failed", error.message, _remedy(settings))
    finally:
        await storage.close()
    return Check("store", "ok", "a document was written, read, found and removed")


def _remedy(settings: Settings) -> str:
    if settings.cosmos_connection is not None or settings.cosmos_endpoint is None:
        return "give COSMOS_CONNECTION as the portal shows it, under Keys"
    account = first_word(settings.cosmos_endpoint)
    group = of_resource(KIND, account, "resourceGroup")
    return (
        f"az cosmosdb sql role assignment create --account-name {account} --resource-group {group} "
        f"--role-definition-id {ROLE} --scope / --principal-id {who(settings)}"
    )
