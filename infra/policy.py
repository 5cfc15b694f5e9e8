"""What every installation is held to, told of the resources that a program declares (`infra.recording`).

Each rule is a function that names what breaks it. None of them needs Pulumi, and none trusts the program:
they read what would be sent to Azure.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

Resource = Mapping[str, Any]
Resources = Sequence[Resource]
Rule = Callable[[Resources, str], Iterator[str]]

_SITES: Final = ("web:WebApp", "web:WebAppSlot")

#: Kinds whose traffic can be made to stay in the virtual network. The registry's cannot: Container Instances
#: pull by a token from outside.
_PRIVATE: Final = (
    "servicebus:Namespace",
    "cosmosdb:DatabaseAccount",
    "keyvault:Vault",
    "storage:StorageAccount",
)

#: Settings of apps that are secrets.
_SECRET: Final = re.compile(r"(_KEY|_KEY_PREVIOUS|_SECRET|_PASSWORD|_CONNECTION)$")
_REFERENCE: Final = re.compile(r"@Microsoft\.KeyVault\(VaultName=([\w-]+);SecretName=([\w-]+)\)")
_KEY_IN_CLEAR: Final = re.compile(r"(AccountKey|SharedAccessKey|SharedAccessSignature|sig)=", re.IGNORECASE)

_TAGS: Final = ("application", "environment", "managed-by", "owner")

#: Parts of other resources, and what has no tags in Azure.
_UNTAGGED: Final = (
    *("Queue", "Topic", "Subnet", "RoleAssignment", "RoleDefinition", "ManagementLockByScope", "Budget"),
    *("SqlResourceSqlDatabase", "SqlResourceSqlContainer", "SqlResourceSqlRoleAssignment"),
    *("BlobServiceProperties", "BlobContainer", "FileShare", "ScopeMap", "Token", "DiagnosticSetting"),
    *("PrivateDnsZoneGroup", "WebAppFtpAllowed", "WebAppScmAllowed"),
)

#: What may be given to a process: roles that read and write data, and pull images.
_ROLES: Final = (
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "4633458b-17de-408a-b874-0445c86b69e6",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "3913510d-42f4-4e42-8a64-420c390055eb",
)

#: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_NAMES: Final = {
    "resources:ResourceGroup": ("resourceGroupName", r"[\w().-]{0,89}[\w()-]"),
    "servicebus:Namespace": ("namespaceName", r"[A-Za-z](?!.*(-sb|-mgmt)$)[A-Za-z0-9-]{4,48}[A-Za-z0-9]"),
    "servicebus:Queue": ("queueName", r"[A-Za-z0-9]([\w./-]{0,258}[A-Za-z0-9])?"),
    "servicebus:Topic": ("topicName", r"[A-Za-z0-9]([\w./-]{0,258}[A-Za-z0-9])?"),
    "storage:FileShare": ("shareName", r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
    "cosmosdb:DatabaseAccount": ("accountName", r"[a-z0-9][a-z0-9-]{1,42}[a-z0-9]"),
    "keyvault:Vault": ("vaultName", r"(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]"),
    "keyvault:Secret": ("secretName", r"[A-Za-z0-9-]{1,127}"),
    "storage:StorageAccount": ("accountName", r"[a-z0-9]{3,24}"),
    "containerregistry:Registry": ("registryName", r"[A-Za-z0-9]{5,50}"),
    "web:WebApp": ("name", r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]"),
    "web:AppServicePlan": ("name", r"[\w-]{1,60}"),
    "network:VirtualNetwork": ("virtualNetworkName", r"[A-Za-z0-9][\w.-]{0,62}\w"),
    "managedidentity:UserAssignedIdentity": ("resourceName", r"[A-Za-z0-9][\w-]{2,127}"),
    "operationalinsights:Workspace": ("workspaceName", r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]"),
}


def violations(resources: Resources, environment: str) -> list[str]:
    """Name all that breaks a rule, each with the resource and what to do; empty when nothing does.

    Parameters:
      resources: What a program declares.
      environment: ``dev``, ``staging`` or ``prod``.
    """
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(resources, environment)]


def of_kind(resources: Resources, *kinds: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give name and inputs of the resources of some kinds."""
    for resource in resources:
        if resource["type"].removeprefix("azure-native:") in kinds:
            yield resource["name"], resource["inputs"]


def settings_of(site: Mapping[str, Any]) -> dict[str, str]:
    """Give the settings of an app."""
    return {each["name"]: each["value"] for each in site.get("siteConfig", {}).get("appSettings", ())}


def only_tls(resources: Resources, environment: str) -> Iterator[str]:
    """TLS 1.2 or later, and nothing in clear."""
    del environment
    for kind, field, least in (
        ("servicebus:Namespace", "minimumTlsVersion", "1.2"),
        ("cosmosdb:DatabaseAccount", "minimalTlsVersion", "Tls12"),
        ("storage:StorageAccount", "minimumTlsVersion", "TLS1_2"),
    ):
        for name, inputs in of_kind(resources, kind):
            if str(inputs.get(field, "")) < least:
                yield f"{name} takes older TLS than 1.2: set {field}"
    for name, inputs in of_kind(resources, "storage:StorageAccount"):
        if inputs.get("enableHttpsTrafficOnly") is not True:
            yield f"{name} takes plain http"
    for name, inputs in of_kind(resources, *_SITES):
        site = inputs.get("siteConfig", {})
        if inputs.get("httpsOnly") is not True:
            yield f"{name} takes plain http: set httpsOnly"
        if min(str(site.get("minTlsVersion", "")), str(site.get("scmMinTlsVersion", ""))) < "1.2":
            yield f"{name} takes older TLS than 1.2"
        if site.get("ftpsState") != "Disabled":
            yield f"{name} takes FTP"


def no_public_blob(resources: Resources, environment: str) -> Iterator[str]:
    """Nobody reads a blob without signing in."""
    del environment
    for name, inputs in of_kind(resources, "storage:StorageAccount"):
        if inputs.get("allowBlobPublicAccess") is not False:
            yield f"{name} may have public blobs: set allowBlobPublicAccess to false"
    for name, inputs in of_kind(resources, "storage:BlobContainer"):
        if inputs.get("publicAccess") != "None":
            yield f"{name} is public"


def no_shared_keys(resources: Resources, environment: str) -> Iterator[str]:
    """Whoever comes signs in as themselves."""
    del environment
    for kind, field, wanted in (
        ("storage:StorageAccount", "allowSharedKeyAccess", False),
        ("servicebus:Namespace", "disableLocalAuth", True),
        ("cosmosdb:DatabaseAccount", "disableLocalAuth", True),
        ("applicationinsights:Component", "disableLocalAuth", True),
        ("containerregistry:Registry", "adminUserEnabled", False),
        ("containerregistry:Registry", "anonymousPullEnabled", False),
    ):
        for name, inputs in of_kind(resources, kind):
            if inputs.get(field) is not wanted:
                yield f"{name} can be used with a key, or without one: set {field} to {wanted}"
    for name, inputs in of_kind(resources, "web:WebAppFtpAllowed", "web:WebAppScmAllowed"):
        if inputs.get("allow") is not False:
            yield f"{name} lets a password deploy"


def secrets_by_reference(resources: Resources, environment: str) -> Iterator[str]:
    """Secrets are in the vault, and the apps have references to those that are there."""
    del environment
    known = {
        (inputs["vaultName"], inputs["secretName"]) for _, inputs in of_kind(resources, "keyvault:Secret")
    }
    for name, inputs in of_kind(resources, *_SITES):
        for setting, value in settings_of(inputs).items():
            found = _REFERENCE.fullmatch(value)
            if found and found.groups() not in known:
                yield f"{name} refers by {setting} to a secret that is not in the vault"
            if not found and (_SECRET.search(setting) or _KEY_IN_CLEAR.search(value)):
                yield f"{name} has a secret in clear: {setting}; put it into the vault"


def tagged(resources: Resources, environment: str) -> Iterator[str]:
    """Every resource tells whose it is."""
    for resource in resources:
        kind = resource["type"].rpartition(":")[2]
        tags: Mapping[str, str] = resource["inputs"].get("tags") or {}
        missing = [tag for tag in _TAGS if not tags.get(tag)]
        if kind not in _UNTAGGED and missing:
            yield f"{resource['name']} ({kind}) lacks the tags {', '.join(missing)}"
        elif kind not in _UNTAGGED and tags["environment"] != environment:
            yield f"{resource['name']} is tagged as one of {tags['environment']}"


def recoverable(resources: Resources, environment: str) -> Iterator[str]:
    """What was deleted can be had back."""
    for name, inputs in of_kind(resources, "keyvault:Vault"):
        properties = inputs.get("properties", {})
        if properties.get("enableSoftDelete") is not True:
            yield f"{name} forgets what was deleted: set enableSoftDelete"
        if environment == "prod" and properties.get("enablePurgeProtection") is not True:
            yield f"{name} can be purged: set enablePurgeProtection"
    accounts = {inputs["accountName"]: name for name, inputs in of_kind(resources, "storage:StorageAccount")}
    kept = {
        inputs["accountName"]
        for _, inputs in of_kind(resources, "storage:BlobServiceProperties")
        if inputs.get("deleteRetentionPolicy", {}).get("enabled") is True
    }
    for account, name in accounts.items():
        if account not in {each.rpartition("/")[2] for each in kept}:
            yield f"{name} forgets what was deleted: set deleteRetentionPolicy"
    for name, inputs in of_kind(resources, "cosmosdb:DatabaseAccount"):
        if inputs.get("backupPolicy", {}).get("type") != "Continuous":
            yield f"{name} has no continuous backup"


def private(resources: Resources, environment: str) -> Iterator[str]:
    """In production, services are reached from the virtual network only."""
    if environment != "prod":
        return
    reached = {
        link["privateLinkServiceId"]
        for _, inputs in of_kind(resources, "network:PrivateEndpoint")
        for link in inputs["privateLinkServiceConnections"]
    }
    for resource in resources:
        kind = resource["type"].removeprefix("azure-native:")
        if kind not in _PRIVATE:
            continue
        inputs = resource["inputs"]
        open_to = inputs.get("publicNetworkAccess") or inputs.get("properties", {}).get("publicNetworkAccess")
        if open_to != "Disabled":
            yield f"{resource['name']} is reached from everywhere: set publicNetworkAccess to Disabled"
        if resource["id"] not in reached:
            yield f"{resource['name']} has no private endpoint, so nobody reaches it"


def named_well(resources: Resources, environment: str) -> Iterator[str]:
    """Azure takes the names."""
    del environment
    for kind, (field, pattern) in _NAMES.items():
        for name, inputs in of_kind(resources, kind):
            if not re.fullmatch(pattern, str(inputs.get(field, ""))):
                yield f"{name} cannot be called {inputs.get(field)!r}"


def least_privilege(resources: Resources, environment: str) -> Iterator[str]:
    """No process may more than it does."""
    del environment
    own = {resource["id"] for resource in resources if resource["type"].endswith(":RoleDefinition")}
    for name, inputs in of_kind(resources, "authorization:RoleAssignment"):
        role = str(inputs["roleDefinitionId"])
        if role not in own and role.rpartition("/")[2] not in _ROLES:
            yield f"{name} gives a role that is not among those of data"
    for name, inputs in of_kind(resources, "authorization:RoleDefinition"):
        for permission in inputs["permissions"]:
            if any("*" in action for action in (*permission["actions"], *permission.get("dataActions", ()))):
                yield f"{name} allows more than is named: write out its actions"


def runs_are_held(resources: Resources, environment: str) -> Iterator[str]:
    """Strangers' code reaches no neighbour and no identity, and from the isolated subnet only the ingress."""
    del environment
    for name, inputs in of_kind(resources, "network:NetworkSecurityGroup"):
        out = sorted(
            (rule for rule in inputs["securityRules"] if rule["direction"] == "Outbound"),
            key=lambda rule: rule["priority"],
        )
        denied = [rule["destinationAddressPrefix"] for rule in out if rule["access"] == "Deny"]
        if not out or (out[-1]["access"], out[-1]["destinationAddressPrefix"]) != ("Deny", "*"):
            yield f"{name} lets out what no rule names"
        if "AzurePlatformIMDS" not in denied:
            yield f"{name} lets runs ask for an identity"
        allowed = [rule["destinationAddressPrefix"] for rule in out if rule["access"] == "Allow"]
        if "isolated" in name and len(allowed) != 1:
            yield f"{name} lets runs without network reach more than the ingress"
    for name, inputs in of_kind(resources, "network:Subnet"):
        if inputs["subnetName"] in ("runs", "isolated") and not inputs.get("networkSecurityGroup"):
            yield f"{name} has no rules for what goes out"


def kept_running(resources: Resources, environment: str) -> Iterator[str]:
    """Apps are not put to sleep, are asked how they are, and have a command."""
    del environment
    for name, inputs in of_kind(resources, *_SITES):
        site = inputs.get("siteConfig", {})
        if site.get("alwaysOn") is not True:
            yield f"{name} is put to sleep: set alwaysOn"
        if not site.get("healthCheckPath"):
            yield f"{name} is not asked how it is: set healthCheckPath"
        if not site.get("appCommandLine"):
            yield f"{name} has no command of the Procfile"


def protected(resources: Resources, environment: str) -> Iterator[str]:
    """Production has a lock, and a budget that somebody is told about."""
    if environment != "prod":
        return
    locks = [each for _, each in of_kind(resources, "authorization:ManagementLockByScope")]
    if not any(lock["level"] == "CanNotDelete" for lock in locks):
        yield "nothing keeps the resource group from being deleted"
    budgets = [each for _, each in of_kind(resources, "consumption:Budget")]
    if not any(notice["contactEmails"] for budget in budgets for notice in budget["notifications"].values()):
        yield "nobody is told when the budget runs out"


RULES: Final[Sequence[Rule]] = (
    only_tls,
    no_public_blob,
    no_shared_keys,
    secrets_by_reference,
    tagged,
    recoverable,
    private,
    named_well,
    least_privilege,
    runs_are_held,
    kept_running,
    protected,
)
