"""The storage account: where exports of the store are kept (`lightning storage export`).

The share and the container of outputs are for programs beside the platform, which keeps repositories and
outputs in the store: a share is mounted with the account's key, and there is none.
"""

from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import storage

from infra.network import Network, make_endpoint

EXPORTS: Final = "exports"
OUTPUTS: Final = "outputs"
SHARE: Final = "repositories"

SHARE_GIB: Final = 100


@dataclass(frozen=True, slots=True)
class Blobs:
    """The storage account.

    Parameters:
      id: Its id.
    """

    id: pulumi.Output[str]


def make_storage(net: Network) -> Blobs:
    """Make the account; whoever reads or writes signs in, since it has no keys that could be shared."""
    place = net.place
    size, is_prod = place.parameters.size, place.parameters.environment == "prod"
    account = storage.StorageAccount(
        place.logical("storage"),
        resource_group_name=place.group.name,
        account_name=place.parameters.names.plain("st"),
        location=place.location,
        kind="StorageV2",
        sku=storage.SkuArgs(name="Standard_ZRS" if is_prod else "Standard_LRS"),
        allow_blob_public_access=False,
        allow_shared_key_access=False,
        allow_cross_tenant_replication=False,
        default_to_o_auth_authentication=True,
        enable_https_traffic_only=True,
        minimum_tls_version="TLS1_2",
        public_network_access="Disabled" if size.private else "Enabled",
        network_rule_set=storage.NetworkRuleSetArgs(
            bypass="AzureServices",
            default_action=storage.DefaultAction.DENY if size.private else storage.DefaultAction.ALLOW,
        ),
        tags=place.tags,
        opts=pulumi.ResourceOptions(protect=is_prod),
    )
    kept = storage.DeleteRetentionPolicyArgs(enabled=True, days=30 if is_prod else 7)
    storage.BlobServiceProperties(
        place.logical("blobs"),
        resource_group_name=place.group.name,
        account_name=account.name,
        blob_services_name="default",
        is_versioning_enabled=True,
        delete_retention_policy=kept,
        container_delete_retention_policy=kept,
    )
    for name in (EXPORTS, OUTPUTS):
        storage.BlobContainer(
            place.logical(name),
            resource_group_name=place.group.name,
            account_name=account.name,
            container_name=name,
            public_access=storage.PublicAccess.NONE,
        )
    storage.FileShare(
        place.logical("share"),
        resource_group_name=place.group.name,
        account_name=account.name,
        share_name=SHARE,
        share_quota=SHARE_GIB,
        enabled_protocols=storage.EnabledProtocols.SMB,
    )
    if size.private:
        make_endpoint(net, "blobs", account.id, "blob", "privatelink.blob.core.windows.net")
    return Blobs(account.id)
