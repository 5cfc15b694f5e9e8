"""The settings of the apps: what `lightning/settings.py` reads where the platform is deployed."""

from dataclasses import dataclass
from typing import Final

import pulumi

from infra.data import Data
from infra.identities import Identity
from infra.messaging import Messaging
from infra.monitoring import Monitoring
from infra.network import Network
from infra.place import Place
from infra.platform import platform
from infra.registry import PULL_TOKEN, Registry
from infra.vault import Vault

PORT: Final = "8000"

#: From here App Service's front ends connect to an app: the only ones whose word about clients is taken.
FRONT_ENDS: Final = "169.254.0.0/16"

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


def app_settings(place: Place, identity: Identity, services: Services) -> dict[str, Setting]:
    """Give the settings of a process; all processes of a region have the same but for their identity."""
    parameters = place.parameters
    names = platform()["containers"]
    return {
        # how the processes run
        "LIGHTNING_MODE": "azure",
        "LIGHTNING_HOST": "0.0.0.0",  # noqa: S104 -- in its container; App Service alone leads there
        "PORT": PORT,
        "WEBSITES_PORT": PORT,
        "WEBSITES_ENABLE_APP_SERVICE_STORAGE": "false",
        "LIGHTNING_DATA": "/var/lib/lightning",
        "LIGHTNING_LOG": "json",
        "LIGHTNING_REGISTRATION": parameters.registration,
        "LIGHTNING_TRUSTED_PROXIES": FRONT_ENDS,
        "LIGHTNING_PUBLIC_URL": public_url(place),
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
        **{name: services.vault.reference(name) for name in services.vault.secrets},
    }


def public_url(place: Place) -> str:
    """Give the address of the ingress. A run finds it in the network, by the name that Azure gives it."""
    return f"https://{place.name('web')}.azurewebsites.net"


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
