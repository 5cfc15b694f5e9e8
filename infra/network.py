"""The virtual network: who is where, and what may go out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import network, privatedns

from infra.place import Place

#: The subnets. Those of runs hold strangers' code; what they may reach is in `_RULES`.
SUBNETS: Final = {
    "apps": "10.40.0.0/24",
    "endpoints": "10.40.1.0/26",
    "ingress": "10.40.1.64/27",
    "runs": "10.40.2.0/23",
    "isolated": "10.40.4.0/23",
}
_DELEGATED: Final = {
    "apps": "Microsoft.Web/serverFarms",
    "runs": "Microsoft.ContainerInstance/containerGroups",
    "isolated": "Microsoft.ContainerInstance/containerGroups",
}

#: Names of runs' rules, whether they allow, and where to; the first that fits decides. The ingress is where
#: they find the run API. Azure's own name server is not subject to such rules; its identity service is.
_RULES: Final = {
    "runs": (
        ("to-ingress", "Allow", SUBNETS["ingress"], "443"),
        ("no-identity", "Deny", "AzurePlatformIMDS", "*"),
        ("no-neighbours", "Deny", "VirtualNetwork", "*"),
        ("to-internet", "Allow", "Internet", "*"),
        ("nothing-else", "Deny", "*", "*"),
    ),
    "isolated": (
        ("to-ingress", "Allow", SUBNETS["ingress"], "443"),
        ("no-identity", "Deny", "AzurePlatformIMDS", "*"),
        ("nothing-else", "Deny", "*", "*"),
    ),
}


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a region.

    Parameters:
      place: The region.
      id: The id of the virtual network.
      subnets: The id of each of `SUBNETS`.
    """

    place: Place
    id: pulumi.Output[str]
    subnets: dict[str, pulumi.Output[str]]


def make_network(place: Place) -> Network:
    """Make the virtual network, its subnets and the address from which they speak to the world."""
    gateway = _gateway(place)
    groups = {kind: _security_group(place, kind) for kind in _RULES}
    whole = network.VirtualNetwork(
        place.logical("network"),
        resource_group_name=place.group.name,
        virtual_network_name=place.name("net"),
        location=place.location,
        address_space=network.AddressSpaceArgs(address_prefixes=["10.40.0.0/16"]),
        tags=place.tags,
        # subnets are resources of their own; else each `pulumi up` would take them out
        opts=pulumi.ResourceOptions(ignore_changes=["subnets"]),
    )
    subnets: dict[str, pulumi.Output[str]] = {}
    before: list[pulumi.Resource] = []
    for kind, prefix in SUBNETS.items():
        made = network.Subnet(
            place.logical(f"subnet-{kind}"),
            resource_group_name=place.group.name,
            virtual_network_name=whole.name,
            subnet_name=kind,
            address_prefix=prefix,
            default_outbound_access=False,
            delegations=[network.DelegationArgs(name="to", service_name=_DELEGATED[kind])]
            if kind in _DELEGATED
            else None,
            nat_gateway=network.SubResourceArgs(id=gateway.id) if kind in ("apps", "runs") else None,
            network_security_group=network.NetworkSecurityGroupArgs(id=groups[kind].id)
            if kind in groups
            else None,
            # Azure changes one subnet of a network at a time
            opts=pulumi.ResourceOptions(depends_on=list(before)),
        )
        before.append(made)
        subnets[kind] = made.id
    return Network(place, whole.id, subnets)


def make_endpoint(
    net: Network, kind: str, target: pulumi.Input[str], part: str, zone: str, subnet: str = "endpoints"
) -> None:
    """Give a service an address in the network, under the name by which it is known.

    Parameters:
      net: The network.
      kind: A word for the service.
      target: The id of the service.
      part: The part of it that is reached (the group id of a private link).
      zone: The zone of names that leads there.
      subnet: Where the address is.
    """
    place = net.place
    link = network.PrivateLinkServiceConnectionArgs(
        name=kind, private_link_service_id=target, group_ids=[part]
    )
    endpoint = network.PrivateEndpoint(
        place.logical(f"endpoint-{kind}"),
        resource_group_name=place.group.name,
        private_endpoint_name=place.name(f"pe-{kind}"),
        location=place.location,
        subnet=network.SubnetArgs(id=net.subnets[subnet]),
        private_link_service_connections=[link],
        tags=place.tags,
    )
    names = privatedns.PrivateZone(
        place.logical(f"zone-{kind}"),
        resource_group_name=place.group.name,
        private_zone_name=zone,
        location="global",
        tags=place.tags,
    )
    privatedns.VirtualNetworkLink(
        place.logical(f"zone-{kind}-here"),
        resource_group_name=place.group.name,
        private_zone_name=names.name,
        virtual_network_link_name="here",
        location="global",
        registration_enabled=False,
        virtual_network=privatedns.SubResourceArgs(id=net.id),
        tags=place.tags,
    )
    network.PrivateDnsZoneGroup(
        place.logical(f"zone-{kind}-entry"),
        resource_group_name=place.group.name,
        private_endpoint_name=endpoint.name,
        private_dns_zone_group_name="names",
        private_dns_zone_configs=[network.PrivateDnsZoneConfigArgs(name=kind, private_dns_zone_id=names.id)],
    )


def _gateway(place: Place) -> network.NatGateway:
    address = network.PublicIPAddress(
        place.logical("address"),
        resource_group_name=place.group.name,
        public_ip_address_name=place.name("ip"),
        location=place.location,
        sku=network.PublicIPAddressSkuArgs(name="Standard"),
        public_ip_allocation_method="Static",
        tags=place.tags,
    )
    return network.NatGateway(
        place.logical("gateway"),
        resource_group_name=place.group.name,
        nat_gateway_name=place.name("nat"),
        location=place.location,
        sku=network.NatGatewaySkuArgs(name="Standard"),
        public_ip_addresses=[network.SubResourceArgs(id=address.id)],
        tags=place.tags,
    )


def _security_group(place: Place, kind: str) -> network.NetworkSecurityGroup:
    return network.NetworkSecurityGroup(
        place.logical(f"rules-{kind}"),
        resource_group_name=place.group.name,
        network_security_group_name=place.name(f"nsg-{kind}"),
        location=place.location,
        security_rules=_security_rules(kind),
        tags=place.tags,
    )


def _security_rules(kind: str) -> Sequence[network.SecurityRuleArgs]:
    outbound = [
        network.SecurityRuleArgs(
            name=name,
            access=access,
            direction="Outbound",
            priority=100 + 10 * n,
            protocol="*",
            source_address_prefix="*",
            source_port_range="*",
            destination_address_prefix=where,
            destination_port_range=port,
        )
        for n, (name, access, where, port) in enumerate(_RULES[kind])
    ]
    inbound = network.SecurityRuleArgs(
        name="nobody-in",
        access="Deny",
        direction="Inbound",
        priority=100,
        protocol="*",
        source_address_prefix="*",
        source_port_range="*",
        destination_address_prefix="*",
        destination_port_range="*",
    )
    return [*outbound, inbound]
