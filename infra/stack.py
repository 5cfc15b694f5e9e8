"""The whole installation, put together."""

import pulumi

from infra.app_settings import Services, chat_url, public_url
from infra.apps import make_apps
from infra.data import Data, make_data, reach_data
from infra.messaging import make_messaging
from infra.monitoring import Monitoring, keep_logs, make_monitoring
from infra.network import Network, make_network
from infra.operations import watch
from infra.parameters import read_parameters
from infra.place import Place, make_place
from infra.protection import protect
from infra.registry import Registry, make_registry
from infra.storage import make_storage
from infra.vault import Vault, make_vault, reach_vault


def deploy() -> None:
    """Declare every resource of the stack.

    Before `image` is set there are no apps: they need the images, which need the registry.
    """
    parameters = read_parameters(pulumi.get_stack())
    home = make_place(parameters, 1, parameters.location)
    net = make_network(home)
    monitoring = make_monitoring(home)
    data, vault, registry = make_data(home), make_vault(home), make_registry(home)
    blobs = make_storage(net)
    for kind, of in (("store", data.id), ("vault", vault.id), ("registry", registry.id)):
        keep_logs(home, monitoring, kind, of)
    keep_logs(home, monitoring, "blobs", pulumi.Output.concat(blobs.id, "/blobServices/default"))
    watch(home, monitoring)
    protect(home)
    _region(home, home, net, monitoring, data, vault, registry)
    active = home
    if parameters.second_location is not None:
        second = make_place(parameters, 2, parameters.second_location)
        _region(second, home, make_network(second), monitoring, data, vault, registry)
        active = second if second.is_active else home
    pulumi.export("registry", registry.server)
    pulumi.export("resourceGroup", active.group.name)
    pulumi.export("url", public_url(active))
    if parameters.chat:
        pulumi.export("chat", chat_url(active))


def _region(
    place: Place,
    home: Place,
    net: Network,
    monitoring: Monitoring,
    data: Data,
    vault: Vault,
    registry: Registry,
) -> None:
    messaging = make_messaging(net)
    keep_logs(place, monitoring, "bus", messaging.id)
    reach_data(net, data)
    reach_vault(net, vault)
    if place.parameters.image is not None:
        make_apps(place, home, Services(net, messaging, data, vault, registry, monitoring))
