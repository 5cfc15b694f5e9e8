"""What the emulator's containers run on: a runner of the platform's port, and what Azure has around it."""

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from lightning.containers import Limits, Runner, RunSpec
from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import inaccessible_image, outside_subset

#: Azure lets a container run for ever; a sandbox whose emulator died must end some day.
MAX_SECONDS: Final = 24 * 3600.0

#: Azure has no such limits: a container has a machine of its own.
PIDS: Final = 512
DISK_MIB: Final = 512

MIB_PER_GB: Final = 1024


@dataclass(frozen=True)
class Machine:
    """Runs executions.

    Parameters:
      runner: Starts them; it belongs to the emulator's event loop.
      workdir: Where a run's files are in the runner's containers.
      images: Those that stand for this machine's own system, with their own command each.
      variables: What these images set in the environment.
      registries: User name and password of each registry that wants them.
      isolated_subnets: Subnets, by id, whose security group lets nothing out.
      api_socket: The platform's run API, which executions reach.
      pending_seconds: How long a group waits to be placed.
      restart_seconds: How long a container waits before its first restart; then twice as long each time.
    """

    runner: Runner
    workdir: PurePosixPath
    images: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    registries: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    isolated_subnets: frozenset[str] = frozenset()
    api_socket: Path | None = None
    pending_seconds: float = 0.0
    restart_seconds: float = 1.0

    def check(self, definition: Definition, group: str) -> None:
        """Refuse a group that could not run.

        Raises:
          ArmError: Its image cannot be pulled, or what it asks for is outside the subset.
        """
        image = definition.container.properties.image
        server = image.partition("/")[0]
        if server in self.registries and not self._admitted(definition, server):
            raise inaccessible_image(image, group)
        for mount in definition.container.properties.volume_mounts or ():
            if PurePosixPath(mount.mount_path).parent != self.workdir:
                raise outside_subset(f"the mount path {mount.mount_path}, not a folder in {self.workdir}")

    def _admitted(self, definition: Definition, server: str) -> bool:
        credentials = definition.properties.image_registry_credentials or ()
        shown = [(c.username, c.password) for c in credentials if c.server == server]
        return self.registries[server] in shown

    def spec(self, definition: Definition) -> RunSpec:
        """Describe one execution of a group's container."""
        container = definition.container.properties
        variables = container.environment_variables or ()
        own = self.images.get(container.image)
        secret = {v.name: v.secure_value for v in variables if v.secure_value is not None}
        subnets = {subnet.id.lower() for subnet in definition.properties.subnet_ids or ()}
        return RunSpec(
            name=f"e{uuid.uuid4().hex}",
            command=container.command or own or (),
            image=container.image if own is None else None,
            environment={
                **({} if own is None else {k: v for k, v in self.variables.items() if k not in secret}),
                **{v.name: v.value for v in variables if v.value is not None},
            },
            secure_environment=secret,
            files=self._files(definition),
            limits=Limits(
                cpu=definition.cpu,
                memory_mib=round(definition.memory_gb * MIB_PER_GB),
                pids=PIDS,
                disk_mib=DISK_MIB,
                wall_seconds=MAX_SECONDS,
            ),
            network="none" if subnets & {s.lower() for s in self.isolated_subnets} else "full",
            api_socket=self.api_socket,
        )

    def _files(self, definition: Definition) -> dict[str, bytes]:
        volumes = {volume.name: volume.secret for volume in definition.properties.volumes or ()}
        return {
            f"{PurePosixPath(mount.mount_path).name}/{name}": base64.b64decode(content)
            for mount in definition.container.properties.volume_mounts or ()
            for name, content in volumes[mount.name].items()
        }
