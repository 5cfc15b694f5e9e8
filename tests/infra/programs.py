"""Run in the environment of `infra/`: prints what our program declares, and what deliberately wrong ones do.

What is refused is printed by what it says.
"""

import json
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pulumi
from pulumi_azure_native import (
    applicationinsights,
    authorization,
    containerregistry,
    cosmosdb,
    keyvault,
    network,
    resources,
    servicebus,
    storage,
    web,
)

import infra
from infra.parameters import read_parameters
from infra.recording import config_of, record
from infra.stack import deploy

TAGS = {"application": "lightning", "environment": "prod", "managed-by": "test", "owner": "somebody"}
WRONG: dict[str, Callable[[], None]] = {}

#: Settings of a stack that do not fit together.
REFUSED = {
    "word": ("dev", {"lightning:name": "Not_A_Word"}),
    "long word": ("dev", {"lightning:name": "elevenchars"}),
    "environment": ("qa", {}),
    "model": ("dev", {"lightning:llm": "oracle"}),
    "no second region": ("prod", {"lightning:secondLocation": "", "lightning:activeRegion": "second"}),
    "no start of the budget": ("prod", {"lightning:budgetStart": ""}),
    "serverless twice": ("dev", {"lightning:secondLocation": "northeurope"}),
    "no secret": ("prod", {"lightning:jwtSigningKey": "", "lightning:openaiApiKey": ""}),
    "no endpoint": ("prod", {"lightning:llm": "azure-openai"}),
    "no key of the chat": ("dev", {"lightning:chatSecret": ""}),
    "no tag": ("dev", {"lightning:image": "lightning@sha256:0"}),
}


def wrong(program: Callable[[], None]) -> Callable[[], None]:
    """Remember a wrong program."""
    WRONG[program.__name__] = program
    return program


def account(**changes: Any) -> None:
    right: dict[str, Any] = {
        "resource_group_name": "group",
        "account_name": "acmeprodst",
        "kind": "StorageV2",
        "sku": storage.SkuArgs(name="Standard_LRS"),
        "allow_blob_public_access": False,
        "allow_shared_key_access": False,
        "enable_https_traffic_only": True,
        "minimum_tls_version": "TLS1_2",
        "public_network_access": "Disabled",
        "tags": TAGS,
    }
    storage.StorageAccount("account", **{**right, **changes})


def site(settings: dict[str, str], **changes: Any) -> None:
    right = {"always_on": True, "health_check_path": "/api/health", "app_command_line": "python -m api.main"}
    config = {**right, "ftps_state": "Disabled", "min_tls_version": "1.2", "scm_min_tls_version": "1.2"}
    pairs = [web.NameValuePairArgs(name=name, value=value) for name, value in settings.items()]
    whole = {key: value for key, value in changes.items() if key == "https_only"}
    web.WebApp(
        "site",
        resource_group_name="group",
        name="acme-prod-web",
        tags=TAGS,
        site_config=web.SiteConfigArgs(
            app_settings=pairs, **{**config, **{k: v for k, v in changes.items() if k not in whole}}
        ),
        **{"https_only": True, **whole},
    )


def rules(name: str, *allowed: str, last: str = "Deny") -> None:
    where = [*(("Allow", each) for each in allowed), ("Deny", "AzurePlatformIMDS"), (last, "*")]
    network.NetworkSecurityGroup(
        name,
        resource_group_name="group",
        tags=TAGS,
        security_rules=[
            network.SecurityRuleArgs(
                name=f"r{n}", access=access, direction="Outbound", priority=100 + n, protocol="*",
                destination_address_prefix=prefix,
            )
            for n, (access, prefix) in enumerate(where)
        ],
    )  # fmt: skip


wrong_site = {
    "key_in_clear": {"JWT_SIGNING_KEY": "0123456789abcdef0123456789abcdef"},
    "connection_string": {"SOMETHING": "Endpoint=sb://a.example;SharedAccessKeyName=a;SharedAccessKey=b"},
    "no_such_secret": {"JWT_SIGNING_KEY": "@Microsoft.KeyVault(VaultName=acme-prod-kv;SecretName=nothing)"},
}
for each, settings in wrong_site.items():
    WRONG[each] = lambda settings=settings: site(settings)
WRONG |= {
    "old_tls": lambda: account(minimum_tls_version="TLS1_1"),
    "plain_http": lambda: account(enable_https_traffic_only=False),
    "public_blob": lambda: account(allow_blob_public_access=True),
    "public_blob_unsaid": lambda: account(allow_blob_public_access=None),
    "shared_key": lambda: account(allow_shared_key_access=True),
    "shared_key_unsaid": lambda: account(allow_shared_key_access=None),
    "blobs_forgotten": account,
    "open_to_all": lambda: account(public_network_access="Enabled"),
    "no_endpoint": account,
    "no_tags": lambda: account(tags={"application": "lightning"}),
    "tags_of_another": lambda: account(tags={**TAGS, "environment": "dev"}),
    "name_too_long": lambda: account(account_name="a" * 25),
    "name_with_hyphen": lambda: account(account_name="acme-prod-st"),
    "site_in_clear": lambda: site({}, https_only=False),
    "site_old_tls": lambda: site({}, min_tls_version="1.0"),
    "site_ftp": lambda: site({}, ftps_state="AllAllowed"),
    "site_sleeps": lambda: site({}, always_on=False),
    "site_unasked": lambda: site({}, health_check_path=None),
    "runs_let_out": lambda: rules("rules-runs", "Internet", last="Allow"),
    "isolated_let_out": lambda: rules("rules-isolated", "10.40.1.64/27", "Internet"),
}


@wrong
def open_container() -> None:
    storage.BlobContainer(
        "blobs",
        account_name="acmeprodst",
        resource_group_name="group",
        public_access=storage.PublicAccess.BLOB,
    )


@wrong
def bus_with_keys() -> None:
    servicebus.Namespace(
        "bus", resource_group_name="group", namespace_name="acme-prod-bus", minimum_tls_version="1.2",
        disable_local_auth=False, tags=TAGS,
    )  # fmt: skip


@wrong
def bus_name_reserved() -> None:
    servicebus.Namespace("bus", resource_group_name="group", namespace_name="acme-prod-sb", tags=TAGS)


@wrong
def telemetry_with_keys() -> None:
    applicationinsights.Component(
        "telemetry",
        resource_group_name="group",
        resource_name_="acme-prod-insights",
        kind="web",
        application_type="web",
        tags=TAGS,
    )


@wrong
def store_with_keys() -> None:
    cosmosdb.DatabaseAccount(
        "store", resource_group_name="group", account_name="acme-prod-cosmos", locations=[], tags=TAGS,
        database_account_offer_type=cosmosdb.DatabaseAccountOfferType.STANDARD,
    )  # fmt: skip


@wrong
def vault_forgets() -> None:
    keyvault.Vault(
        "vault", resource_group_name="group", vault_name="acme-prod-kv", tags=TAGS,
        properties=keyvault.VaultPropertiesArgs(
            tenant_id="t", sku=keyvault.SkuArgs(family="A", name=keyvault.SkuName.STANDARD),
            enable_soft_delete=False,
        ),
    )  # fmt: skip


@wrong
def registry_with_admin() -> None:
    containerregistry.Registry(
        "registry", resource_group_name="group", registry_name="acmeprodacr", admin_user_enabled=True,
        anonymous_pull_enabled=False, sku=containerregistry.SkuArgs(name="Standard"), tags=TAGS,
    )  # fmt: skip


@wrong
def owner() -> None:
    role = "/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
    authorization.RoleAssignment("may", principal_id="p", role_definition_id=role, scope="/subscriptions/s")


@wrong
def role_of_everything() -> None:
    everything = [authorization.PermissionArgs(actions=["Microsoft.ContainerInstance/*"])]
    authorization.RoleDefinition("role", scope="s", role_name="r", permissions=everything)


@wrong
def nothing_protected() -> None:
    resources.ResourceGroup("group", resource_group_name="acme-prod-group", tags=TAGS)


def settings_for(stack: str) -> dict[str, str]:
    """Those of the repository, whatever whoever deploys has made of them."""
    own = {"lightning:name": "acme", "azure-native:location": "westeurope", "lightning:llm": "openai"}
    own["lightning:chat"] = "true"
    second = {"lightning:secondLocation": "northeurope"} if stack == "prod" else {}
    return {**config_of(stack), **own, **second}


def refusal(stack: str, changes: dict[str, str]) -> str:
    config = {**settings_for(stack if stack != "qa" else "dev"), **changes}
    try:
        record(
            lambda: pulumi.export("read", read_parameters(stack).environment), stack,
            {key: value for key, value in config.items() if value},
        )  # fmt: skip
    except ValueError as error:
        return str(error)
    return ""


def main() -> None:
    first = {key: value for key, value in settings_for("dev").items() if key != "lightning:image"}
    moved = {**settings_for("prod"), "lightning:activeRegion": "second"}
    alone = {**settings_for("dev"), "lightning:chat": "false"}
    del alone["lightning:chatSecret"]
    found = {
        "stacks": {stack: record(deploy, stack, settings_for(stack)) for stack in ("dev", "prod")},
        # as Pulumi runs it: the folder, by its name
        "first": record(lambda: runpy.run_path(infra.__path__[0], run_name="__main__"), "dev", first),
        "moved": record(deploy, "prod", moved),
        "without chat": record(deploy, "dev", alone),
        "wrong": {name: record(program, "prod", {}) for name, program in WRONG.items()},
        "refused": {name: refusal(*case) for name, case in REFUSED.items()},
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
