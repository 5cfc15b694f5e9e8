"""A run as a container group of Azure Container Instances.

Sources: "Container Groups - Create Or Update"; "Set environment variables in container instances" (secure
ones are never shown again); "Mount a secret volume in Azure Container Instances".
"""

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from azure.mgmt.containerinstance.models import (
    Container,
    ContainerGroup,
    ContainerGroupSubnetId,
    EnvironmentVariable,
    ImageRegistryCredential,
    ResourceRequests,
    ResourceRequirements,
    Volume,
    VolumeMount,
)

from lightning.containers.port import RunSpec
from lightning.errors import Permanent

#: The name of the one container in each group.
CONTAINER: Final = "run"

#: Tags of ours; the others are the caller's.
OWN_TAG: Final = "lightning-"
DEPLOYMENT_TAG: Final = "lightning-deployment"
WALL_TAG: Final = "lightning-wall-seconds"
MEMORY_TAG: Final = "lightning-memory-mib"
ASKED_TAG: Final = "lightning-asked-at"
ENDED_TAG: Final = "lightning-ended"

#: Where the files of a run are mounted; the run's own directory is the image's affair.
FILES_VOLUME: Final = "lightning-files"
FILES_PATH: Final = "/workspace/.lightning-files"

#: Container Instances mounts files where they cannot be changed: the run gets copies in its own directory.
#: The arguments are how many, then a file's place there and its path here for each, then the command.
COPY_SCRIPT: Final = f"""\
set -e
count=$1
shift
while [ "$count" -gt 0 ]; do
  case "$2" in */*) mkdir -p "./${{2%/*}}" ;; esac
  cat "{FILES_PATH}/$1" > "./$2"
  shift 2
  count=$((count - 1))
done
exec "$@"
"""

#: What Azure takes as a tag.
_TAG_NAME: Final = re.compile(r"[^<>%&\\?/]{1,512}")
_MAX_TAGS: Final = 45
_MAX_TAG_VALUE: Final = 256

_VARIABLE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_]{0,61}[A-Za-z0-9])?")
_MIB_PER_GB: Final = 1024


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry from which images are pulled, with a token that can do nothing else.

    Parameters:
      server: Its host name.
      username: The token's name.
      password: Its password.
    """

    server: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where groups are made.

    Parameters:
      resource_group: The resource group.
      region: The region.
      deployment: The word by which this installation tells its groups from others'.
      image: The image of runs that name none.
      subnet: Subnet of runs with network, by its id; None: Azure's own, without a virtual network.
      isolated_subnet: Subnet whose security group lets nothing out but to the run API, by its id.
      registry: With what images are pulled; None: they are public.
    """

    resource_group: str
    region: str
    deployment: str
    image: str | None = None
    subnet: str | None = None
    isolated_subnet: str | None = None
    registry: Registry | None = None


def define(spec: RunSpec, place: Place, *, asked_at: float) -> ContainerGroup:
    """Write a run as a container group.

    It has no managed identity: code in the run could borrow it.

    Parameters:
      spec: The run.
      place: Where it is to be.
      asked_at: The time, in seconds since 1970.

    Raises:
      Permanent: Container Instances cannot run it.
    """
    image = spec.image or place.image
    if image is None:
        raise _refused("it names no image, and WORKER_IMAGE is not set")
    subnet = _subnet(spec, place)
    registry = place.registry
    return ContainerGroup(
        location=place.region,
        os_type="Linux",
        restart_policy="Never",
        tags=_tags(spec, place, asked_at),
        subnet_ids=[ContainerGroupSubnetId(id=subnet)] if subnet else None,
        image_registry_credentials=[
            ImageRegistryCredential(
                server=registry.server, username=registry.username, password=registry.password
            )
        ]
        if registry is not None and image.startswith(f"{registry.server}/")
        else None,
        volumes=[Volume(name=FILES_VOLUME, secret=_secrets(spec.files))] if spec.files else None,
        containers=[
            Container(
                name=CONTAINER,
                image=image,
                command=_command(spec),
                environment_variables=_environment(spec),
                resources=ResourceRequirements(requests=_resources(spec)),
                volume_mounts=[VolumeMount(name=FILES_VOLUME, mount_path=FILES_PATH, read_only=True)]
                if spec.files
                else None,
            )
        ],
    )


def callers_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Give the tags that came with the run."""
    return {name: value for name, value in tags.items() if not name.startswith(OWN_TAG)}


def _tags(spec: RunSpec, place: Place, asked_at: float) -> dict[str, str]:
    if len(spec.tags) > _MAX_TAGS:
        raise _refused(f"it has more than {_MAX_TAGS} tags")
    for name, value in spec.tags.items():
        if not _TAG_NAME.fullmatch(name) or name.startswith(OWN_TAG) or len(value) > _MAX_TAG_VALUE:
            raise _refused(f"{name!r} is not a tag that Azure takes, or its value is over {_MAX_TAG_VALUE}")
    return {
        **spec.tags,
        DEPLOYMENT_TAG: place.deployment,
        WALL_TAG: f"{spec.limits.wall_seconds:g}",
        MEMORY_TAG: f"{spec.limits.memory_mib}",
        ASKED_TAG: f"{asked_at:.3f}",
    }


def _subnet(spec: RunSpec, place: Place) -> str | None:
    if spec.network == "full":
        return place.subnet
    if spec.network == "none" and place.isolated_subnet is not None:
        return place.isolated_subnet
    if spec.network == "none":
        message = "Container Instances run without network only in a subnet: set ACI_ISOLATED_SUBNET"
    else:
        message = "Container Instances cannot be held to a list of hosts: ask for the network full or none"
    raise Permanent(f"The run cannot be started: {message}.", code="network_unsupported")


def _secrets(files: Mapping[str, bytes]) -> dict[str, str]:
    return {f"f{n}": base64.b64encode(content).decode() for n, content in enumerate(files.values())}


def _command(spec: RunSpec) -> list[str] | None:
    if not spec.files:
        return list(spec.command) or None
    if not spec.command:
        raise _refused("it has files, so it must name its command: they are put in place before it")
    places = [word for n, path in enumerate(spec.files) for word in (f"f{n}", path)]
    return ["/bin/sh", "-c", COPY_SCRIPT, "files", str(len(spec.files)), *places, *spec.command]


def _environment(spec: RunSpec) -> list[EnvironmentVariable]:
    for name in (*spec.environment, *spec.secure_environment):
        if not _VARIABLE.fullmatch(name):
            raise _refused(f"Container Instances take no variable {name!r}: none begins or ends with _")
    return [
        *(EnvironmentVariable(name=name, value=value) for name, value in spec.environment.items()),
        *(EnvironmentVariable(name=n, secure_value=value) for n, value in spec.secure_environment.items()),
    ]


def _resources(spec: RunSpec) -> ResourceRequests:
    tenths_of_gb = math.ceil(10 * spec.limits.memory_mib / _MIB_PER_GB)
    return ResourceRequests(cpu=round(spec.limits.cpu, 2), memory_in_gb=tenths_of_gb / 10)


def _refused(why: str) -> Permanent:
    return Permanent(f"The run cannot be started: {why}.", code="run_refused")
