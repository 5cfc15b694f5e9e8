"""Settings that the specification of the platform names."""

from typing import Final

from pydantic import SecretStr

from lightning.settings.groups.group import Group, setting
from lightning.settings.secrets import ContainerEmulator, CosmosConnection, ServiceBusConnection, SigningKey
from lightning.settings.values import Deployment, HostName, ModelPrices, Subnet, Subscription, Url

_SUBNET_EXAMPLE: Final = (
    "/subscriptions/.../resourceGroups/.../providers/Microsoft.Network/virtualNetworks/.../subnets/..."
)


class Specified(Group):
    """What the specification requires, and what it leaves to the operator."""

    # What the specification requires
    openai_api_key: SecretStr | None = setting(
        "OPENAI_API_KEY",
        None,
        "Key of the language-model service; on Azure OpenAI an identity does",
        example="sk-...",
    )
    jwt_signing_key: SigningKey | None = setting(
        "JWT_SIGNING_KEY",
        None,
        "Key that signs access tokens, at least 32 bytes",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )
    servicebus_connection: ServiceBusConnection | None = setting(
        "SERVICEBUS_CONNECTION",
        None,
        "Azure Service Bus: connection string",
        example="Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...",
    )
    servicebus_namespace: HostName | None = setting(
        "SERVICEBUS_NAMESPACE",
        None,
        "Azure Service Bus: host name, where an identity signs in instead of a connection string",
        example="lightning.servicebus.windows.net",
    )
    cosmos_connection: CosmosConnection | None = setting(
        "COSMOS_CONNECTION",
        None,
        "Azure Cosmos DB: connection string; with `COSMOS_ENDPOINT` an identity does",
        example="AccountEndpoint=https://...;AccountKey=...",
    )

    # What the specification leaves to the operator
    openai_model: str = setting("OPENAI_MODEL", "gpt-3.5-turbo", "Model that answers chats")
    openai_models: str = setting(
        "OPENAI_MODELS",
        "",
        "Models that a conversation may ask for besides `OPENAI_MODEL`, separated by commas",
        example="gpt-4o,gpt-4o-mini",
        shown="",
    )
    model_prices: ModelPrices = setting(
        "LIGHTNING_MODEL_PRICES",
        "",
        "US dollars for a million tokens by model, as JSON, for the dashboard to tell costs besides tokens",
        example='{"gpt-4o-mini": {"input": 0.15, "output": 0.6}}',
        shown="",
    )
    servicebus_queue: str = setting("SERVICEBUS_QUEUE", "lightning", "Default queue; others append a suffix")
    notify_url: Url | None = setting(
        "NOTIFY_URL", None, "Webhook that is told of every message", example="https://example.com/notify"
    )
    worker_image: str | None = setting(
        "WORKER_IMAGE", None, "Container image that runs agents", example="registry.example.com/agents:1"
    )
    aci_resource_group: str | None = setting(
        "ACI_RESOURCE_GROUP", None, "Azure resource group of the container instances", example="lightning"
    )
    aci_region: str = setting("ACI_REGION", "centralindia", "Azure region of the container instances")
    aci_subscription: Subscription | None = setting(
        "ACI_SUBSCRIPTION",
        None,
        "Azure subscription of the container instances",
        example="00000000-0000-0000-0000-000000000000",
    )
    aci_deployment: Deployment = setting(
        "ACI_DEPLOYMENT",
        "lightning",
        "Word by which this installation tells its container instances from others' in the resource group",
    )
    aci_subnet: Subnet | None = setting(
        "ACI_SUBNET",
        None,
        "Subnet of runs with network; without it they are in no virtual network",
        example=_SUBNET_EXAMPLE,
    )
    aci_isolated_subnet: Subnet | None = setting(
        "ACI_ISOLATED_SUBNET",
        None,
        "Subnet of runs without network: its security group lets nothing out but to the ingress",
        example=_SUBNET_EXAMPLE,
    )
    aci_registry_server: str | None = setting(
        "ACI_REGISTRY_SERVER",
        None,
        "Registry from which images are pulled, where it is not public",
        example="name.azurecr.io",
    )
    aci_registry_username: str | None = setting(
        "ACI_REGISTRY_USERNAME",
        None,
        "Its token that can pull and do nothing else: the token's name",
        example="pull",
    )
    aci_registry_password: SecretStr | None = setting(
        "ACI_REGISTRY_PASSWORD", None, "The token's password", example="..."
    )
    aci_emulator: ContainerEmulator | None = setting(
        "ACI_EMULATOR",
        None,
        "Instead of `ACI_SUBSCRIPTION`: the line that `lightning emulator arm` prints",
        example="Endpoint=http://127.0.0.1:9000;SubscriptionId=...;AccessToken=...",
    )
    cosmos_endpoint: Url | None = setting(
        "COSMOS_ENDPOINT",
        None,
        "Azure Cosmos DB without `COSMOS_CONNECTION`: the account, which is asked as the managed identity",
        example="https://name.documents.azure.com",
    )
    cosmos_database: str = setting("COSMOS_DATABASE", "lightning", "Database that holds the containers")
    user_container: str = setting("USER_CONTAINER", "users", "Container of the accounts")
    repo_container: str = setting("REPO_CONTAINER", "repos", "Container of the repositories")
    schedule_container: str = setting("SCHEDULE_CONTAINER", "schedules", "Container of the schedules")
    event_container: str = setting("EVENT_CONTAINER", "events", "Container of the event log")
