"""App Service: a plan, and on it an app for each process of the Procfile."""

from typing import Any, Final

import pulumi
from pulumi_azure_native import web

from infra.app_settings import Services, app_settings
from infra.data import allow_data
from infra.identities import Identity, allow, allow_runs, make_identity, make_run_role
from infra.messaging import allow_messages
from infra.monitoring import keep_logs
from infra.network import make_endpoint
from infra.place import Place
from infra.platform import CHAT, processes
from infra.scaling import scale
from infra.vault import allow_secrets

#: Every process answers here: the ingress with what it needs, the others with their being alive.
HEALTH: Final = "/api/health"

#: The slot in which a release is started, while the one before still works.
SLOT: Final = "next"

#: Those that start containers, or end those that nobody waits for any more.
WITH_RUNS: Final = ("worker", "clock")

#: Those that people reach.
PUBLIC: Final = ("web", CHAT)


def make_apps(place: Place, home: Place, services: Services) -> None:
    """Make the apps of a region, each with an identity that may do what it has to, and no more.

    Parameters:
      place: The region.
      home: The region of the store, the vault and the registry.
      services: What they work with.
    """
    size = place.parameters.size
    plan = web.AppServicePlan(
        place.logical("plan"),
        resource_group_name=place.group.name,
        name=place.name("plan"),
        location=place.location,
        kind="linux",
        reserved=True,
        # the worker grows with the queue; one ingress and one clock do. Basic machines do not scale at all
        per_site_scaling=size.has_slots,
        sku=web.SkuDescriptionArgs(name=size.plan, capacity=size.workers[0]),
        tags=place.tags,
    )
    role = make_run_role(place)
    for process, command in processes().items():
        if process == CHAT and not place.parameters.chat:
            continue
        identity = make_identity(place, process)
        _allow(place, home, services, process, identity)
        if process in WITH_RUNS:
            subnets = {kind: services.net.subnets[kind] for kind in ("runs", "isolated")}
            allow_runs(place, process, identity, role, subnets)
        app = _app(place, services, plan, process, command, identity)
        keep_logs(place, services.monitoring, process, app.id)
        if process == "web":
            zone = "privatelink.azurewebsites.net"
            make_endpoint(services.net, "ingress", app.id, "sites", zone, subnet="ingress")
    if size.has_slots:
        scale(place, plan, services.messaging)


def _allow(place: Place, home: Place, services: Services, process: str, identity: Identity) -> None:
    allow(place, process, identity, "AcrPull", "registry", services.registry.id)
    allow_secrets(place, services.vault, process, identity)
    if process == CHAT:
        return  # whatever it does, it asks the ingress for
    allow(
        place, process, identity, "Monitoring Metrics Publisher", "telemetry", services.monitoring.component
    )
    allow_data(place, home, services.data, process, identity)
    allow_messages(place, services.messaging, process, identity)


def _app(
    place: Place,
    services: Services,
    plan: web.AppServicePlan,
    process: str,
    command: str,
    identity: Identity,
) -> web.WebApp:
    common = _properties(place, services, plan, process, identity)
    common["site_config"] = _site(place, services, process, command, identity)
    # a release sets the image, and swaps the slots: `pulumi up` leaves it as it is
    image = pulumi.ResourceOptions(ignore_changes=["siteConfig.linuxFxVersion"])
    app = web.WebApp(place.logical(process), name=place.name(process), opts=image, **common)
    web.WebAppFtpAllowed(
        place.logical(f"{process}-ftp"), name=app.name, resource_group_name=place.group.name, allow=False
    )
    web.WebAppScmAllowed(
        place.logical(f"{process}-scm"), name=app.name, resource_group_name=place.group.name, allow=False
    )
    if place.parameters.size.has_slots:
        stopped: dict[str, Any] = {**common, "enabled": False}
        web.WebAppSlot(
            place.logical(f"{process}-{SLOT}"),
            name=app.name,
            slot=SLOT,
            opts=pulumi.ResourceOptions(ignore_changes=["siteConfig.linuxFxVersion", "enabled"]),
            **stopped,
        )
    return app


def _properties(
    place: Place, services: Services, plan: web.AppServicePlan, process: str, identity: Identity
) -> dict[str, Any]:
    return {
        "resource_group_name": place.group.name,
        "location": place.location,
        "kind": "app,linux,container",
        "reserved": True,
        "enabled": place.is_active,
        "server_farm_id": plan.id,
        "https_only": True,
        # who is logged in to the chat is known to the instance that they logged in to
        "client_affinity_enabled": process == CHAT,
        "public_network_access": "Enabled" if process in PUBLIC else "Disabled",
        "virtual_network_subnet_id": services.net.subnets["apps"],
        "key_vault_reference_identity": identity.id,
        "identity": web.ManagedServiceIdentityArgs(
            type=web.ManagedServiceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity.id]
        ),
        "tags": place.tags,
    }


def _site(
    place: Place, services: Services, process: str, command: str, identity: Identity
) -> web.SiteConfigArgs:
    settings = app_settings(place, process, identity, services)
    return web.SiteConfigArgs(
        linux_fx_version=f"DOCKER|{services.registry.server}/{place.parameters.image_of(process)}",
        acr_use_managed_identity_creds=True,
        acr_user_managed_identity_id=identity.client_id,
        app_command_line=command,
        always_on=True,
        health_check_path=HEALTH,
        web_sockets_enabled=True,
        ftps_state="Disabled",
        min_tls_version="1.2",
        scm_min_tls_version="1.2",
        remote_debugging_enabled=False,
        vnet_route_all_enabled=True,
        number_of_workers=place.parameters.size.workers[1] if process == "worker" else 1,
        app_settings=[web.NameValuePairArgs(name=name, value=value) for name, value in settings.items()],
    )
