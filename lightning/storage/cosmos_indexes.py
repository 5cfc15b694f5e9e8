"""Which indexes a container of Cosmos DB has, and which it lacks since an older version made it.

Source: "Indexing policies in Azure Cosmos DB": an order by several fields needs a composite index of just
these, which serves its reverse too; a policy can be replaced at any time, and the account then builds what
is new while it goes on.
"""

from collections.abc import Mapping
from typing import Any, Final

from lightning.storage.port import Container

#: What the SDK resets where a container is replaced without it: as the account names it, and as the SDK does.
_KEPT: Final = {
    "partitionKey": "partition_key",
    "defaultTtl": "default_ttl",
    "conflictResolutionPolicy": "conflict_resolution_policy",
    "analyticalStorageTtl": "analytical_storage_ttl",
    "computedProperties": "computed_properties",
    "fullTextPolicy": "full_text_policy",
    "vectorEmbeddingPolicy": "vector_embedding_policy",
}


def indexing_policy(container: Container) -> dict[str, Any]:
    """Give the indexes that a container needs, and no other: each write pays for each.

    The same stands in what infra/ deploys.
    """
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{field}/?"} for field in ("userID", *container.fields)],
        "excludedPaths": [{"path": "/*"}, {"path": '/"_etag"/?'}],
        "compositeIndexes": [
            [{"path": f"/{field}", "order": "ascending"} for field in order]
            for order in (("id", "userID"), *((field, "id", "userID") for field in container.orders))
        ],
    }


def lacking(
    policy: Mapping[str, Any], container: Container
) -> tuple[list[dict[str, str]], list[list[dict[str, str]]]]:
    """Give the paths and the composite indexes that a container's indexing policy lacks."""
    wanted = indexing_policy(container)
    included = {entry["path"] for entry in policy.get("includedPaths", [])}
    paths = [] if "/*" in included else [e for e in wanted["includedPaths"] if e["path"] not in included]
    groups = {_group(each) for each in policy.get("compositeIndexes", [])}
    return paths, [each for each in wanted["compositeIndexes"] if _group(each) not in groups]


def completed(policy: Mapping[str, Any], container: Container) -> dict[str, Any] | None:
    """Give a container's indexing policy with what it lacks; None when it lacks nothing.

    What it has besides stays: somebody may have added it for queries of their own.
    """
    paths, composites = lacking(policy, container)
    if not paths and not composites:
        return None
    return {
        **policy,
        "includedPaths": [*policy.get("includedPaths", []), *paths],
        "compositeIndexes": [*policy.get("compositeIndexes", []), *composites],
    }


def kept(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Give what else a container is made of, as the SDK takes it to replace the container."""
    return {option: properties[name] for name, option in _KEPT.items() if properties.get(name) is not None}


def _group(composite: list[dict[str, str]]) -> tuple[tuple[str, bool], ...]:
    return tuple(
        (entry["path"], entry.get("order", "ascending").lower() == "descending") for entry in composite
    )
