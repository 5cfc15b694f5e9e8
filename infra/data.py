"""The Cosmos DB account, its database and containers, as the code wants them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
from pulumi_azure_native import cosmosdb

from infra.identities import Identity, stable_id
from infra.network import Network, make_endpoint
from infra.place import Place
from infra.platform import platform

#: "Cosmos DB Built-in Data Contributor": reads and writes documents, and manages nothing.
DATA_CONTRIBUTOR: Final = "00000000-0000-0000-0000-000000000002"


@dataclass(frozen=True, slots=True)
class Data:
    """The store.

    Parameters:
      id: The id of the account.
      name: Its name.
      endpoint: Its address.
    """

    id: pulumi.Output[str]
    name: str
    endpoint: str


def make_data(place: Place) -> Data:
    """Make the account, with one region that writes, and the second one, if there is one, that reads."""
    size, name = place.parameters.size, place.name("cosmos")
    account = cosmosdb.DatabaseAccount(
        place.logical("store"),
        resource_group_name=place.group.name,
        account_name=name,
        location=place.location,
        kind="GlobalDocumentDB",
        database_account_offer_type=cosmosdb.DatabaseAccountOfferType.STANDARD,
        locations=_locations(place),
        # one region writes: whoever decides on what is old loses on its etag, and there is one etag
        enable_multiple_write_locations=False,
        enable_automatic_failover=place.parameters.second_location is not None,
        consistency_policy=cosmosdb.ConsistencyPolicyArgs(
            default_consistency_level=cosmosdb.DefaultConsistencyLevel.SESSION
        ),
        capabilities=[cosmosdb.CapabilityArgs(name="EnableServerless")] if size.throughput is None else None,
        backup_policy=cosmosdb.ContinuousModeBackupPolicyArgs(
            type="Continuous",
            continuous_mode_properties=cosmosdb.ContinuousModePropertiesArgs(
                tier="Continuous30Days" if place.parameters.environment == "prod" else "Continuous7Days"
            ),
        ),
        disable_local_auth=True,
        disable_key_based_metadata_write_access=True,
        minimal_tls_version="Tls12",
        public_network_access="Disabled" if size.private else "Enabled",
        tags=place.tags,
        opts=pulumi.ResourceOptions(protect=place.parameters.environment == "prod"),
    )
    database = cosmosdb.SqlResourceSqlDatabase(
        place.logical("database"),
        resource_group_name=place.group.name,
        account_name=account.name,
        database_name=platform()["database"],
        resource=cosmosdb.SqlDatabaseResourceArgs(id=platform()["database"]),
        options=_throughput(size.throughput),
    )
    for container in platform()["containers"].values():
        _container(place, account, database, container)
    return Data(account.id, name, f"https://{name}.documents.azure.com")


def reach_data(net: Network, data: Data) -> None:
    """Give the store an address in a network, where it has none in the world."""
    if net.place.parameters.size.private:
        make_endpoint(net, "store", data.id, "Sql", "privatelink.documents.azure.com")


def allow_data(place: Place, home: Place, data: Data, process: str, identity: Identity) -> None:
    """Let a process read and write documents.

    Parameters:
      place: The region of the process.
      home: That of the account.
      data: The store.
      process: The process.
      identity: Its identity.
    """
    cosmosdb.SqlResourceSqlRoleAssignment(
        place.logical(f"may-{process}-documents"),
        resource_group_name=home.group.name,
        account_name=data.name,
        role_assignment_id=stable_id(place, process, "documents"),
        principal_id=identity.principal_id,
        role_definition_id=data.id.apply(lambda account: f"{account}/sqlRoleDefinitions/{DATA_CONTRIBUTOR}"),
        scope=data.id,
    )


def _locations(place: Place) -> list[cosmosdb.LocationArgs]:
    first, second = place.parameters.location, place.parameters.second_location
    order = [first] if second is None else [first, second]
    if place.parameters.active == "second":
        order.reverse()
    is_prod = place.parameters.environment == "prod"
    return [
        cosmosdb.LocationArgs(location_name=name, failover_priority=n, is_zone_redundant=is_prod)
        for n, name in enumerate(order)
    ]


def _throughput(most: int | None) -> cosmosdb.CreateUpdateOptionsArgs | None:
    if most is None:
        return None
    scaling = cosmosdb.AutoscaleSettingsArgs(max_throughput=most)
    return cosmosdb.CreateUpdateOptionsArgs(autoscale_settings=scaling)


def _container(
    place: Place,
    account: cosmosdb.DatabaseAccount,
    database: cosmosdb.SqlResourceSqlDatabase,
    container: Mapping[str, Any],
) -> None:
    cosmosdb.SqlResourceSqlContainer(
        place.logical(f"container-{container['name']}"),
        resource_group_name=place.group.name,
        account_name=account.name,
        database_name=database.name,
        container_name=container["name"],
        resource=cosmosdb.SqlContainerResourceArgs(
            id=container["name"],
            partition_key=cosmosdb.ContainerPartitionKeyArgs(
                kind="Hash", paths=[container["partition"]], version=2
            ),
            default_ttl=container["ttl"],
            indexing_policy=_indexing(container["indexing"]),
        ),
        opts=pulumi.ResourceOptions(protect=place.parameters.environment == "prod"),
    )


def _indexing(policy: Mapping[str, Any]) -> cosmosdb.IndexingPolicyArgs:
    return cosmosdb.IndexingPolicyArgs(
        indexing_mode=policy["indexingMode"],
        automatic=policy["automatic"],
        included_paths=[cosmosdb.IncludedPathArgs(path=each["path"]) for each in policy["includedPaths"]],
        excluded_paths=[cosmosdb.ExcludedPathArgs(path=each["path"]) for each in policy["excludedPaths"]],
        composite_indexes=[
            [cosmosdb.CompositePathArgs(path=each["path"], order=each["order"]) for each in index]
            for index in policy["compositeIndexes"]
        ],
    )
