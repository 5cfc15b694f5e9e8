"""The registry of images, and the token with which runs' images are pulled."""

from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import containerregistry

from infra.place import Place

#: What the token of runs may pull. A run has no identity that code inside could borrow.
AGENTS: Final = "agents"
PULL_TOKEN: Final = "pull"  # noqa: S105 -- its name


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry.

    Parameters:
      id: Its id.
      server: Its host name.
    """

    id: pulumi.Output[str]
    server: str


def make_registry(place: Place) -> Registry:
    """Make the registry, and a token that pulls the agents' images and does nothing else.

    It has an address in the world: Container Instances pull by the token from there. Nobody pulls unasked.
    """
    name, second = place.parameters.names.plain("acr"), place.parameters.second_location
    registry = containerregistry.Registry(
        place.logical("registry"),
        resource_group_name=place.group.name,
        registry_name=name,
        location=place.location,
        sku=containerregistry.SkuArgs(name="Standard" if second is None else "Premium"),
        admin_user_enabled=False,
        anonymous_pull_enabled=False,
        tags=place.tags,
    )
    if second is not None:
        containerregistry.Replication(
            place.logical("registry-replica"),
            resource_group_name=place.group.name,
            registry_name=registry.name,
            replication_name=second,
            location=second,
            tags=place.tags,
        )
    scope = containerregistry.ScopeMap(
        place.logical("pull-scope"),
        resource_group_name=place.group.name,
        registry_name=registry.name,
        scope_map_name="pull-agents",
        description="Pulls the images of agents",
        actions=[f"repositories/{AGENTS}/content/read", f"repositories/{AGENTS}/metadata/read"],
    )
    containerregistry.Token(
        place.logical("pull-token"),
        resource_group_name=place.group.name,
        registry_name=registry.name,
        token_name=PULL_TOKEN,
        scope_map_id=scope.id,
        status="enabled",
    )
    return Registry(registry.id, f"{name}.azurecr.io")
