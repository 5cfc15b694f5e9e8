"""Whether containers can be made, read and removed, their image pulled, and how much of the quota is left."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Final

from lightning.containers import Limits, Network, Runner, RunSpec, RunStatus
from lightning.containers.aci_usage import usages
from lightning.containers.opening import open_runner
from lightning.errors import Forbidden, LightningError
from lightning.settings import Settings
from ops.checkup.check import Check
from ops.checkup.commands import give_role

#: How often a container is asked about, in seconds: Azure counts questions.
ASK_SECONDS: Final = 1.0

#: A group that is left behind, since the process died, is stopped after so long and removed by the clock.
WALL_SECONDS: Final = 60.0

#: It does nothing, and every image has it.
COMMAND: Final = ("/bin/sh", "-c", "exit 0")

#: The quotas that runs draw on; of those for graphics processors there usually is nothing.
OURS: Final = frozenset({"ContainerGroups", "StandardCores"})

#: The share of a quota from which on it is near its end.
NEARLY: Final = 0.9


async def look(settings: Settings, ask_seconds: float = ASK_SECONDS) -> AsyncIterator[Check]:
    """Run the image of agents once with network, and once without where there is a subnet for that.

    Parameters:
      settings: They say where containers run.
      ask_seconds: How often each is asked about.
    """
    if settings.runner != "aci":
        yield Check("containers", "skipped", f"runs are in the {settings.runner}")
        return
    yield await _quota(settings)
    kinds: dict[str, Network] = {"containers": "full"}
    if settings.aci_isolated_subnet is not None:
        kinds["containers without network"] = "none"
    runner = open_runner(settings)
    try:
        tries = [_tried(settings, runner, name, network, ask_seconds) for name, network in kinds.items()]
        for checks in await asyncio.gather(*tries):
            for check in checks:
                yield check
    finally:
        await runner.close()


async def _quota(settings: Settings) -> Check:
    try:
        found = [each for each in await usages(settings) if each.name in OURS]
    except Forbidden as error:
        scope = f"/subscriptions/{settings.aci_subscription}"
        return Check("quota", "skipped", error.message, give_role(settings, "Reader", scope))
    except LightningError as error:
        return Check("quota", "failed", error.message, _remedy(settings))
    words = ", ".join(f"{each.name} {each.used:g} of {each.limit:g}" for each in found)
    if any(each.used >= NEARLY * each.limit for each in found):
        ask = "ask for more: the portal, Quotas, Container Instances, in the region of ACI_REGION"
        return Check("quota", "failed", f"{words}: runs will wait", ask)
    return Check("quota", "ok", words)


async def _tried(
    settings: Settings, runner: Runner, name: str, network: Network, ask_seconds: float
) -> list[Check]:
    run = f"doctor-{secrets.token_hex(6)}"
    limits = Limits(cpu=0.5, memory_mib=512, wall_seconds=WALL_SECONDS)
    spec = RunSpec(name=run, command=COMMAND, image=settings.worker_image, limits=limits, network=network)
    try:
        try:
            await runner.start(spec)
            status = await _ended(runner, run, ask_seconds)
        finally:
            await runner.remove(run)
    except LightningError as error:
        if error.code == "image_missing":
            return [Check(f"{name}: image", "failed", error.message, _image_remedy(settings))]
        return [
            Check(name, "failed", error.message, _remedy(settings)),
            Check(f"{name}: image", "skipped", "no container was made"),
        ]
    return [Check(name, "ok", "one was made, asked about and removed"), _judged(settings, name, status)]


async def _ended(runner: Runner, run: str, ask_seconds: float) -> RunStatus:
    while not (status := await runner.status(run)).ended:  # noqa: ASYNC110 -- Azure tells nobody by itself
        await asyncio.sleep(ask_seconds)
    return status


def _judged(settings: Settings, name: str, status: RunStatus) -> Check:
    name = f"{name}: image"
    if status.state == "succeeded":
        return Check(name, "ok", f"{settings.worker_image} was pulled and ran")
    if status.reason == "missing_image":
        return Check(name, "failed", status.message, _image_remedy(settings))
    remedy = "see the container group's events in the portal"
    return Check(name, "failed", f"{status.reason}: {status.message}", remedy)


def _image_remedy(settings: Settings) -> str:
    server, _, rest = (settings.worker_image or "").partition("/")
    registry, repository = server.partition(".")[0], rest.partition(":")[0]
    there = f"az acr repository show-tags --name {registry} --repository {repository}"
    if settings.aci_registry_username is None:
        return f"is it there: {there}; if the registry is not public, set ACI_REGISTRY_*"
    token = f"--name {settings.aci_registry_username} --registry {registry} --password1"
    new = f"az acr token credential generate {token}"
    return f"is it there: {there}; a new password for ACI_REGISTRY_PASSWORD: {new}"


def _remedy(settings: Settings) -> str:
    """Give the role that infra/ makes for this: it may join the subnets, too."""
    group = settings.aci_resource_group or ""
    role = f"{group.removesuffix('runs')}run-containers"
    give = give_role(settings, role, f"/subscriptions/{settings.aci_subscription}/resourceGroups/{group}")
    subnets = [each for each in (settings.aci_subnet, settings.aci_isolated_subnet) if each is not None]
    also = f"; the same --scope {' and '.join(subnets)}" if subnets else ""
    return f"check ACI_SUBSCRIPTION and ACI_RESOURCE_GROUP, then {give}{also}"
