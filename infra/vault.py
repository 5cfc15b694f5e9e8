"""The Key Vault: every secret of the platform, and the references by which the apps find them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import keyvault

from infra.identities import Identity, allow
from infra.network import Network, make_endpoint
from infra.parameters import CHAT_SECRET
from infra.place import Place
from infra.platform import CHAT


@dataclass(frozen=True, slots=True)
class Vault:
    """The vault.

    Parameters:
      id: Its id.
      name: Its name.
      secrets: The id of each that it holds, by the setting of the platform.
    """

    id: pulumi.Output[str]
    name: str
    secrets: Mapping[str, pulumi.Output[str]]

    def reference(self, setting: str) -> str:
        """Write the value of an app's setting that stands for a secret; App Service looks it up.

        Without a version it is the newest: App Service looks within a day, or when the app restarts.
        """
        return f"@Microsoft.KeyVault(VaultName={self.name};SecretName={secret_name(setting)})"


def secret_name(setting: str) -> str:
    """Name the secret of a setting: vaults take letters, digits and hyphens."""
    return setting.lower().replace("_", "-")


def make_vault(place: Place) -> Vault:
    """Make the vault, with the secrets of the stack's settings in it."""
    is_private = place.parameters.size.private
    name = place.name("kv")
    vault = keyvault.Vault(
        place.logical("vault"),
        resource_group_name=place.group.name,
        vault_name=name,
        location=place.location,
        properties=keyvault.VaultPropertiesArgs(
            tenant_id=place.tenant,
            sku=keyvault.SkuArgs(family="A", name=keyvault.SkuName.STANDARD),
            enable_rbac_authorization=True,
            enable_soft_delete=True,
            soft_delete_retention_in_days=90 if place.parameters.environment == "prod" else 7,
            enable_purge_protection=True if place.parameters.environment == "prod" else None,
            public_network_access="Disabled" if is_private else "Enabled",
            network_acls=keyvault.NetworkRuleSetArgs(
                bypass="AzureServices", default_action="Deny" if is_private else "Allow"
            ),
        ),
        tags=place.tags,
        opts=pulumi.ResourceOptions(protect=place.parameters.environment == "prod"),
    )
    # written through Azure Resource Manager, which needs no way into the vault's network
    secrets = {
        setting: keyvault.Secret(
            place.logical(f"secret-{secret_name(setting)}"),
            resource_group_name=place.group.name,
            vault_name=vault.name,
            secret_name=secret_name(setting),
            properties=keyvault.SecretPropertiesArgs(value=value),
            tags=place.tags,
        ).id
        for setting, value in place.parameters.secrets.items()
    }
    return Vault(vault.id, name, secrets)


def reach_vault(net: Network, vault: Vault) -> None:
    """Give the vault an address in a network, where it has none in the world."""
    if net.place.parameters.size.private:
        make_endpoint(net, "vault", vault.id, "vault", "privatelink.vaultcore.azure.net")


def allow_secrets(place: Place, vault: Vault, process: str, identity: Identity) -> None:
    """Let a process read the secrets; all that the vault holds are the platform's, and one is the chat's."""
    scope = vault.secrets[CHAT_SECRET] if process == CHAT else vault.id
    allow(place, process, identity, "Key Vault Secrets User", "vault", scope)
