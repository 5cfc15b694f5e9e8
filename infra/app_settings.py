"""The settings of the apps: what `lightning/settings.py` reads where the platform is deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi

from infra.data import Data
from infra.identities import Identity
from infra.messaging import Messaging
from infra.monitoring import Monitoring
from infra.network import SUBNETS, Network
from infra.parameters import CHAT_SECRET
from infra.place import Place
from infra.platform import CHAT, platform
from infra.registry import PULL_TOKEN, Registry
from infra.vault import Vault

PORT: Final = "8000"

#: From here App Service's front ends connect to an app.
FRONT_ENDS: Final = "169.254.0.0/16"

#: Whose word about clients is taken: the chat, which is among the apps, passes on who logs in there.
PROXIES: Final = f"{FRONT_ENDS},{SUBNETS['apps']}"

Setting = str | pulumi.Output[str]


@dataclass(frozen=True, slots=True)
class Services:
    """All that an app works with.

    Parameters:
      net: The network of its region.
      messaging: The queues.
      data: The store.
      vault: The secrets.
      registry: The images.
      monitoring: The telemetry.
    """

    net: Network
    messaging: Messaging
    data: Data
    vault: Vault
    registry: Registry
    monitoring: Monitoring


def app_settings(place: Place, process: str, identity: Identity, services: Services) -> Mapping[str, Setting]:
    """Give the settings of a process."""
    own = _of_chat(place, services) if process == CHAT else _of_platform(place, identity, services)
    return {
        "LIGHTNING_HOST": "0.0.0.0",  # noqa: S104 -- in its container; App Service alone leads there
        "PORT": PORT,
        "WEBSITES_PORT": PORT,
        "WEBSITES_ENABLE_APP_SERVICE_STORAGE": "false",
        "LIGHTNING_DATA": "/var/lib/lightning",
        "LIGHTNING_LOG": "json",
        "LIGHTNING_PUBLIC_URL": public_url(place),
        **own,
    }


def _of_chat(place: Place, services: Services) -> Mapping[str, Setting]:
    """Give those of the chat: where the ingress is, and its key, which nobody else has."""
    return {"LIGHTNING_CHAT_API": public_url(place), CHAT_SECRET: services.vault.reference(CHAT_SECRET)}


def _of_platform(place: Place, identity: Identity, services: Services) -> Mapping[str, Setting]:
    """Give those of all other processes, which have the same in a region but for their identity."""
    parameters = place.parameters
    names = platform()["containers"]
    return {
        "LIGHTNING_MODE": "azure",
        "LIGHTNING_REGISTRATION": parameters.registration,
        "LIGHTNING_TRUSTED_PROXIES": PROXIES,
        "NOTIFY_URL": f"{public_url(place)}/notify",
        # who they are, and whom they ask
        "AZURE_CLIENT_ID": identity.client_id,
        "SERVICEBUS_NAMESPACE": services.messaging.host,
        "SERVICEBUS_QUEUE": platform()["queues"][0],
        "COSMOS_ENDPOINT": services.data.endpoint,
        "COSMOS_DATABASE": platform()["database"],
        **{setting: container["name"] for setting, container in names.items()},
        "APPLICATIONINSIGHTS_CONNECTION_STRING": services.monitoring.connection,
        "LIGHTNING_MONITOR_IDENTITY": "1",
        "OTEL_TRACES_SAMPLER": "always_on",
        **_runs(place, services),
        **_model(place),
        **{name: services.vault.reference(name) for name in services.vault.secrets if name != CHAT_SECRET},
    }


def public_url(place: Place) -> str:
    """Give the address of the ingress. A run finds it in the network, by the name that Azure gives it."""
    return f"https://{place.name('web')}.azurewebsites.net"


def chat_url(place: Place) -> str:
    """Give the address of the chat."""
    return f"https://{place.name(CHAT)}.azurewebsites.net/chat/"


def _runs(place: Place, services: Services) -> dict[str, Setting]:
    return {
        "WORKER_IMAGE": f"{services.registry.server}/{place.parameters.agents_image}",
        "ACI_SUBSCRIPTION": place.subscription,
        "ACI_RESOURCE_GROUP": place.name("runs"),
        "ACI_REGION": place.location,
        "ACI_DEPLOYMENT": place.name("runs"),
        "ACI_SUBNET": services.net.subnets["runs"],
        "ACI_ISOLATED_SUBNET": services.net.subnets["isolated"],
        "ACI_REGISTRY_SERVER": services.registry.server,
        "ACI_REGISTRY_USERNAME": PULL_TOKEN,
    }


def _model(place: Place) -> dict[str, Setting]:
    parameters = place.parameters
    base = {} if parameters.openai_base_url is None else {"OPENAI_BASE_URL": parameters.openai_base_url}
    return {"LIGHTNING_LLM": parameters.llm, "OPENAI_MODEL": parameters.openai_model, **base}
