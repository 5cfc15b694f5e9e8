"""An identity for each process, and what each may do."""

import uuid
from typing import Final

import pulumi
from pulumi_azure_native import authorization, managedidentity

from infra.place import Place

#: Built-in roles of Azure: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES: Final = {
    "Azure Service Bus Data Sender": "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "Azure Service Bus Data Receiver": "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
}

#: What the platform asks of Container Instances; `lightning/containers/aci.py` asks nothing else.
RUN_ACTIONS: Final = (
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.ContainerInstance/containerGroups/read",
    "Microsoft.ContainerInstance/containerGroups/write",
    "Microsoft.ContainerInstance/containerGroups/delete",
    "Microsoft.ContainerInstance/containerGroups/stop/action",
    "Microsoft.ContainerInstance/containerGroups/containers/logs/read",
    "Microsoft.ContainerInstance/locations/operations/read",
)
JOIN_ACTIONS: Final = (
    "Microsoft.Network/virtualNetworks/subnets/read",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
)

Identity = managedidentity.UserAssignedIdentity


def make_identity(place: Place, process: str) -> Identity:
    """Make the identity of a process."""
    return managedidentity.UserAssignedIdentity(
        place.logical(f"identity-{process}"),
        resource_group_name=place.group.name,
        resource_name_=place.name(f"id-{process}"),
        location=place.location,
        tags=place.tags,
    )


def allow(
    place: Place, process: str, identity: Identity, role: str, on: str, scope: pulumi.Input[str]
) -> None:
    """Give an identity a built-in role.

    Parameters:
      place: The region.
      process: Whose identity it is.
      identity: The identity.
      role: One of `ROLES`.
      on: A word for what the role is given on.
      scope: The id of what the role is given on.
    """
    definition = (
        f"/subscriptions/{place.subscription}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}"
    )
    _assign(place, f"{process}-{role.replace(' ', '-').lower()}-{on}", identity, definition, scope)


def make_run_role(place: Place) -> authorization.RoleDefinition:
    """Make the role that starts and ends containers of runs, and does nothing else."""
    name = place.name("run-containers")
    return authorization.RoleDefinition(
        place.logical("role-runs"),
        role_definition_id=stable_id(place, name),
        role_name=name,
        role_type="CustomRole",
        description="Starts, reads, stops and removes container groups, in the subnets of runs",
        scope=place.runs.id,
        assignable_scopes=[place.runs.id, place.group.id],
        permissions=[authorization.PermissionArgs(actions=[*RUN_ACTIONS, *JOIN_ACTIONS])],
    )


def allow_runs(
    place: Place,
    process: str,
    identity: Identity,
    role: authorization.RoleDefinition,
    subnets: dict[str, pulumi.Output[str]],
) -> None:
    """Let an identity start containers among the runs, in these subnets."""
    for on, scope in {"group": place.runs.id, **subnets}.items():
        _assign(place, f"{process}-runs-{on}", identity, role.id, scope)


def stable_id(place: Place, *words: str) -> str:
    """Give an id that is the same each time the program runs."""
    parameters = place.parameters
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((parameters.names.of("", place.number), *words))))


def _assign(
    place: Place, name: str, identity: Identity, definition: pulumi.Input[str], scope: pulumi.Input[str]
) -> None:
    authorization.RoleAssignment(
        place.logical(f"may-{name}"),
        role_assignment_name=stable_id(place, name),
        principal_id=identity.principal_id,
        principal_type="ServicePrincipal",
        role_definition_id=definition,
        scope=scope,
    )
