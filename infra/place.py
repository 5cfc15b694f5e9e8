"""Where resources are made: a region's resource group, and what all of them there have in common."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization, resources

from infra.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Place:
    """One region of an installation.

    Parameters:
      parameters: The settings of the stack.
      number: 1, or 2 for the second region.
      location: The region.
      group: The resource group of all but the runs.
      runs: The resource group of the runs, which holds nothing else: the platform may do there what it likes.
      subscription: The id of the subscription.
      tenant: The id of the directory that knows the identities.
    """

    parameters: Parameters
    number: int
    location: str
    group: resources.ResourceGroup
    runs: resources.ResourceGroup
    subscription: str
    tenant: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags of every resource."""
        return self.parameters.tags

    @property
    def is_active(self) -> bool:
        """Whether the installation works here, not only in case the other region is lost."""
        return self.number == (2 if self.parameters.active == "second" else 1)

    def name(self, kind: str) -> str:
        """Name a resource of this region."""
        return self.parameters.names.of(kind, self.number)

    def logical(self, kind: str) -> str:
        """Name a resource as Pulumi knows it, whatever the stack."""
        return kind if self.number == 1 else f"{kind}-{self.number}"


def make_place(parameters: Parameters, number: int, location: str) -> Place:
    """Make the resource groups of a region."""
    client = authorization.get_client_config()
    group, runs = (
        resources.ResourceGroup(
            kind if number == 1 else f"{kind}-{number}",
            resource_group_name=parameters.names.of(kind, number),
            location=location,
            tags=parameters.tags,
            # what holds the log is never removed by a wrong setting; the command says how to lift it
            opts=pulumi.ResourceOptions(protect=parameters.environment == "prod"),
        )
        for kind in ("group", "runs")
    )
    return Place(parameters, number, location, group, runs, client.subscription_id, client.tenant_id)
