"""A container group: its definition, what runs of it, and how it looks from outside.

Sources: "Azure Container Instances states", "Run containerized tasks with restart policies", "Manually stop
or start containers in Azure Container Instances".
"""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lightning.errors import LightningError
from ops.emulators.arm.container import Container
from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import ArmError, transitioning
from ops.emulators.arm.faults import Fault, Faults
from ops.emulators.arm.machine import Machine

Provisioning: TypeAlias = Literal["Pending", "Creating", "Succeeded", "Failed"]

#: How soon a fault that was taken away is noticed.
FAULT_POLL_SECONDS = 0.02

FAILED_MESSAGE = "A fault was injected: the container group could not be provisioned."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group is."""

    subscription: str
    resource_group: str
    name: str

    @property
    def id(self) -> str:
        """Its resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{self.name}"
        )

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others: names are compared without case."""
        return (self.subscription.lower(), self.resource_group.lower(), self.name.lower())


class Group:
    """One container group.

    Parameters:
      place: Where it is.
      definition: What it is.
      machine: What runs it.
      faults: What is in force.
    """

    def __init__(self, place: Place, definition: Definition, machine: Machine, faults: Faults) -> None:
        self.place = place
        self.definition = definition
        self.operation = ""
        self.error: ArmError | None = None
        self.provisioning: Provisioning = "Pending"
        self._machine = machine
        self._faults = faults
        self._container = Container(definition, machine)
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        identity = definition.identity
        self._principal = str(uuid.uuid4()) if identity and "SystemAssigned" in identity.type else None

    def deploy(self, definition: Definition | None = None) -> None:
        """Begin to run it anew, by another definition if there is one."""
        if definition is not None:
            self.definition = definition
        self._container = Container(self.definition, self._machine)
        self._stopped = False
        self.error = None
        self.provisioning = "Pending"
        self.operation = str(uuid.uuid4())
        fate = self._faults.fate(self.place.name)
        self._task = asyncio.create_task(self._run(self._container, fate), name=f"group {self.place.name}")

    @property
    def container(self) -> Container:
        """What runs of it."""
        return self._container

    @property
    def settling(self) -> bool:
        """Whether an operation on it is under way."""
        return self.provisioning in {"Pending", "Creating"}

    def require_settled(self) -> None:
        """Refuse an operation while another one is under way.

        Raises:
          ArmError: 409.
        """
        if self.settling:
            raise transitioning(self.place.name)

    async def halt(self) -> None:
        """End what runs; a group that has run to its end stays as it is."""
        if self._container.over:
            return
        await self._abandon()
        await self._container.kill()
        self._stopped = True
        self.provisioning = "Succeeded"

    async def discard(self) -> None:
        """End what runs, and forget all of it."""
        await self._abandon()
        await self._container.discard()

    async def _abandon(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, container: Container, fate: Fault | None) -> None:
        kind = None if fate is None else fate.kind
        await asyncio.sleep(self._machine.pending_seconds)
        if fate is not None and kind == "stuck_pending":
            await self._wait_for_removal(fate)
        if kind == "fail_provisioning":
            error = ArmError(409, "ServiceUnavailable", FAILED_MESSAGE)
            container.events.add("Failed", error.message, time.time(), "Warning")
            self._fail(error)
            return
        if kind == "pull_fails":
            self._fail(container.pull_failed())
            return
        self.provisioning = "Creating"
        death = fate.seconds if fate is not None and kind == "out_of_memory" else None
        try:
            await container.run(self._placed, death_seconds=death)
        except ArmError as error:
            self._fail(error)
        except LightningError as error:  # the machine itself has failed
            self._fail(ArmError(409, "ContainerStartFailed", str(error)))

    async def _wait_for_removal(self, fault: Fault) -> None:
        """Wait until a fault is taken away, which another thread does."""
        while True:
            if not self._faults.holds(fault):
                return
            await asyncio.sleep(FAULT_POLL_SECONDS)

    def _placed(self) -> None:
        """Note that the container was brought to run."""
        self.provisioning = "Succeeded"

    def _fail(self, error: ArmError) -> None:
        self.error = error
        self.provisioning = "Failed"

    @property
    def state(self) -> str:
        """The state of the group as such."""
        if self._stopped:
            return "Stopped"
        if self.provisioning == "Failed":
            return "Failed"
        return self._container.group_state

    def shown(self, *, view: bool = True) -> dict[str, Any]:
        """Give it as the service does; lists are without instance views."""
        body = self.definition.shown()
        properties = body["properties"]
        properties["provisioningState"] = self.provisioning
        if view:
            properties["instanceView"] = {"events": [], "state": self.state}
            properties["containers"][0]["properties"]["instanceView"] = self._container.shown()
        if self._principal is not None:
            body["identity"]["principalId"] = self._principal
            body["identity"]["tenantId"] = "00000000-0000-0000-0000-000000000000"
        return {
            "id": self.place.id,
            "name": self.place.name,
            "type": "Microsoft.ContainerInstance/containerGroups",
            **body,
        }
