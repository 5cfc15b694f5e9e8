"""The account: its databases and containers, and what clients read about them.

Sources: "Get a database account", "Databases", "Collections" and "Partition key ranges" of the REST
reference; "Azure Cosmos DB service quotas".
"""

import time
import uuid
from typing import Any

import orjson

from ops.emulators.cosmos.container import Container, Lag
from ops.emulators.cosmos.documents import check_id
from ops.emulators.cosmos.errors import OWNER_NOT_FOUND, CosmosError, outside_subset
from ops.emulators.cosmos.indexing import DEFAULT_POLICY, IndexingPolicy
from ops.emulators.cosmos.journal import Journal
from ops.emulators.cosmos.request import Answer, Request
from ops.emulators.cosmos.rids import container_rid, database_rid
from ops.emulators.cosmos.values import as_object

_KNOWN_PROPERTIES = {"id", "partitionKey", "indexingPolicy", "uniqueKeyPolicy", "defaultTtl"}
_SYSTEM_PROPERTIES = {"_rid", "_self", "_etag", "_ts", "_docs", "_sprocs", "_triggers", "_udfs", "_conflicts"}
_CONFLICT_RESOLUTION = {
    "mode": "LastWriterWins",
    "conflictResolutionPath": "/_ts",
    "conflictResolutionProcedure": "",
}


class Database:
    """A database and its containers, by name."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self.properties = properties
        self.containers: dict[str, Container] = {}


class Account:
    """Everything that the emulator holds.

    Parameters:
      ranges: How many ranges of partition keys a new container has.
      lag: How far reads without a session token are behind.
      journal: Where it is kept; None: only in memory.
    """

    def __init__(self, ranges: int, lag: Lag, journal: Journal | None) -> None:
        self.ranges = ranges
        self.lag = lag
        self.journal = journal
        self.databases: dict[str, Database] = {}
        if journal is not None:
            self._load(journal)

    def _load(self, journal: Journal) -> None:
        for properties in journal.databases():
            self.databases[properties["id"]] = Database(properties)
        for name, ranges, properties in journal.containers():
            container = Container(properties, ranges, self.lag)
            self.databases[name].containers[properties["id"]] = container
            journal.fill(container)

    def container(self, request: Request) -> Container:
        """Give the container that a request is about.

        Raises:
          CosmosError: There is none.
        """
        database, name = request.address.names[:2]
        found = self.databases.get(database)
        container = None if found is None else found.containers.get(name)
        if container is None:
            raise CosmosError(404, "Owner resource does not exist", substatus=OWNER_NOT_FOUND)
        return container

    def describe(self, endpoint: str) -> Answer:
        """Answer what a client asks first: where the account is, and how consistent."""
        location = [{"name": "Loopback", "databaseAccountEndpoint": endpoint}]
        return _answer(
            {
                "_self": "",
                "id": "emulator",
                "_rid": "emulator",
                "media": "//media/",
                "addresses": "//addresses/",
                "_dbs": "//dbs/",
                "writableLocations": location,
                "readableLocations": location,
                "enableMultipleWriteLocations": False,
                "userReplicationPolicy": {
                    "asyncReplication": False,
                    "minReplicaSetSize": 3,
                    "maxReplicasetSize": 4,
                },
                "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
                "systemReplicationPolicy": {"minReplicaSetSize": 3, "maxReplicasetSize": 4},
                "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
                "queryEngineConfiguration": "{}",
            }
        )

    # Databases

    def create_database(self, request: Request) -> Answer:
        """Create a database."""
        name = _check_name(request.document)
        if name in self.databases:
            raise CosmosError(409, "Resource with specified id or name already exists.")
        rid = database_rid()
        properties = {
            "id": name,
            **_system(rid, f"dbs/{rid}/"),
            "_colls": "colls/",
            "_users": "users/",
        }
        if self.journal is not None:
            self.journal.save_database(properties)
        self.databases[name] = Database(properties)
        return _answer(properties, 201)

    def database(self, request: Request) -> Database:
        """Give the database that a request names.

        Raises:
          CosmosError: There is none.
        """
        found = self.databases.get(request.address.names[0])
        if found is None:
            raise CosmosError(404, "Resource Not Found.")
        return found

    def read_database(self, request: Request) -> Answer:
        """Read a database."""
        return _answer(self.database(request).properties)

    def list_databases(self, _request: Request) -> Answer:
        """List the databases, all on one page."""
        found = [database.properties for database in self.databases.values()]
        return _answer({"_rid": "", "Databases": found, "_count": len(found)})

    def delete_database(self, request: Request) -> Answer:
        """Delete a database with all that is in it."""
        database = self.database(request)
        if self.journal is not None:
            self.journal.delete_database(database.properties["id"])
        del self.databases[database.properties["id"]]
        return Answer(204)

    # Containers

    def create_container(self, request: Request) -> Answer:
        """Create a container."""
        database = self.database(request)
        body = request.document
        name = _check_name(body)
        if name in database.containers:
            raise CosmosError(409, "Resource with specified id or name already exists.")
        rid = container_rid(database.properties["_rid"])
        own = f"{database.properties['_self']}colls/{rid}/"
        properties = {**_checked(body), **_system(rid, own), "_docs": "docs/", "_conflicts": "conflicts/"}
        try:
            container = Container(properties, self.ranges, self.lag)
        except (AttributeError, KeyError, TypeError):
            raise CosmosError(400, "The indexing policy or a unique key is malformed.") from None
        if self.journal is not None:
            self.journal.save_container(database.properties["id"], self.ranges, properties)
        database.containers[name] = container
        return _answer(properties, 201)

    def read_container(self, request: Request) -> Answer:
        """Read a container's properties."""
        return _answer(self._named_container(request).properties)

    def _named_container(self, request: Request) -> Container:
        found = self.database(request).containers.get(request.address.names[1])
        if found is None:
            raise CosmosError(404, "Resource Not Found.")
        return found

    def list_containers(self, request: Request) -> Answer:
        """List a database's containers, all on one page."""
        database = self.database(request)
        found = [container.properties for container in database.containers.values()]
        return _answer(
            {"_rid": database.properties["_rid"], "DocumentCollections": found, "_count": len(found)}
        )

    def replace_container(self, request: Request) -> Answer:
        """Change a container's indexing policy and expiry; nothing else can change."""
        container = self._named_container(request)
        before = container.properties
        after = _checked(request.document)
        for name in ("id", "partitionKey", "uniqueKeyPolicy"):
            if after.get(name) != before.get(name):
                raise CosmosError(400, f"Replacing the {name} of a container is not allowed.")
        kept = {name: before[name] for name in ("_rid", "_self", "_docs", "_conflicts")}
        properties = {**after, **_system(before["_rid"], before["_self"]), **kept}
        try:
            IndexingPolicy(properties["indexingPolicy"])
        except (AttributeError, KeyError, TypeError):
            raise CosmosError(400, "The indexing policy is malformed.") from None
        if self.journal is not None:
            self.journal.save_container(request.address.names[0], len(container.ranges), properties)
        container.use(properties)
        return _answer(properties)

    def delete_container(self, request: Request) -> Answer:
        """Delete a container with its documents."""
        container = self._named_container(request)
        if self.journal is not None:
            self.journal.delete_container(container.rid)
        del self.database(request).containers[container.properties["id"]]
        return Answer(204)

    def list_ranges(self, request: Request) -> Answer:
        """Say which ranges of partition keys a container has; they never change."""
        container = self._named_container(request)
        etag = '"1"'
        if request.headers.get("if-none-match") == etag:
            return Answer(304, headers={"etag": etag})
        ranges: list[dict[str, Any]] = [
            {
                **_system(f"{container.rid}{held.id}", f"{container.properties['_self']}pkranges/{held.id}/"),
                "id": held.id,
                "minInclusive": held.low,
                "maxExclusive": held.high,
                "ridPrefix": int(held.id),
                "throughputFraction": 1 / len(container.ranges),
                "status": "online",
                "parents": [],
            }
            for held in container.ranges
        ]
        answer = _answer({"_rid": container.rid, "PartitionKeyRanges": ranges, "_count": len(ranges)})
        answer.headers["etag"] = etag
        return answer


def _check_name(body: dict[str, Any]) -> str:
    name = check_id(body)
    if not name.isascii():
        raise outside_subset("names of databases and containers beyond ASCII")
    return name


def _answer(body: dict[str, Any], status: int = 200) -> Answer:
    headers = {"etag": body["_etag"]} if "_etag" in body else {}
    return Answer(status, orjson.dumps(body), headers)


def _system(rid: str, link: str) -> dict[str, Any]:
    return {"_rid": rid, "_self": link, "_etag": f'"{uuid.uuid4()}"', "_ts": int(time.time())}


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """Give a container's properties with their defaults.

    Raises:
      CosmosError: They are invalid, or outside the subset.
    """
    known = _KNOWN_PROPERTIES | _SYSTEM_PROPERTIES
    unknown = {
        name
        for name, value in body.items()
        if value and name not in known and (name, value) != ("conflictResolutionPolicy", _CONFLICT_RESOLUTION)
    }
    if unknown:
        raise outside_subset(f"containers with {', '.join(sorted(unknown))}")
    definition = as_object(body.get("partitionKey")) or {}
    if definition.get("kind", "Hash") != "Hash" or definition.get("version", 1) != 2:
        raise outside_subset("a partition key that is not of kind Hash, version 2")
    ttl = body.get("defaultTtl")
    if ttl is not None and (type(ttl) is not int or (ttl != -1 and not 0 < ttl < 2**31)):
        raise CosmosError(400, "The defaultTtl must be a positive whole number, or -1.")
    properties: dict[str, Any] = {
        "id": check_id(body),
        "indexingPolicy": body.get("indexingPolicy") or DEFAULT_POLICY,
        "partitionKey": {"paths": definition.get("paths"), "kind": "Hash", "version": 2},
        "uniqueKeyPolicy": body.get("uniqueKeyPolicy") or {"uniqueKeys": []},
        "conflictResolutionPolicy": _CONFLICT_RESOLUTION,
    }
    if ttl is not None:
        properties["defaultTtl"] = ttl
    return properties
