"""One emulated subscription, run in a thread of its own."""

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.types import ASGIApp

from lightning.containers import Runner
from lightning.containers.sandbox import SandboxRunner
from lightning.shim.bubble import WORKSPACE
from ops.emulators.arm.app import ArmApp
from ops.emulators.arm.control import Control
from ops.emulators.arm.faults import Faults
from ops.emulators.arm.gateway import Gateway
from ops.emulators.arm.groups import PAGE_SIZE, Groups
from ops.emulators.arm.machine import Machine
from ops.emulators.arm.quotas import Limits, Quotas
from ops.emulators.http_emulator import HttpEmulator, kept_secret

#: The subscription that there is, unless told otherwise.
SUBSCRIPTION: Final = "00000000-0000-0000-0000-00000000ac10"

#: The resource group that there is, unless told otherwise.
RESOURCE_GROUP: Final = "lightning"


class ArmEmulator(HttpEmulator[Faults]):
    """Container groups of Azure Resource Manager on loopback, from `start` to `stop` or in a ``with``.

    What runs in them ends with it.

    Parameters:
      port: The port; 0 takes a free one, which stays the same when it is started again.
      data: The folder for the runner's state, and for the token; None: a temporary one.
      token: The bearer token that is demanded; None makes one, which the folder keeps.
      subscription: The id of the subscription.
      resource_groups: The names of the resource groups.
      images: Those that stand for this machine's own system, with their own command each.
      image_variables: What these images set in the environment.
      unpacked_images: A folder with the file system of each other image; None: there are none.
      mounts: Folders that every container sees, by where it sees them.
      registries: User name and password of each registry that wants them.
      isolated_subnets: Subnets, by id, whose security group lets nothing out.
      offline: Whether no container has a network, whatever its subnet.
      api_socket: The platform's run API, which containers reach.
      pending_seconds: How long a new group waits to be placed.
      restart_seconds: How long a container waits before its first restart.
      limits: What the subscription may have.
      page_size: Groups in one page of a list.
      control_port: The port of the control interface; 0 takes a free one, None has none.
    """

    name = "arm"

    def __init__(
        self,
        *,
        port: int = 0,
        data: Path | None = None,
        token: str | None = None,
        subscription: str = SUBSCRIPTION,
        resource_groups: Sequence[str] = (RESOURCE_GROUP,),
        images: Mapping[str, Sequence[str]] | None = None,
        image_variables: Mapping[str, str] | None = None,
        unpacked_images: Path | None = None,
        mounts: Mapping[str, Path] | None = None,
        registries: Mapping[str, tuple[str, str]] | None = None,
        isolated_subnets: Sequence[str] = (),
        offline: bool = False,
        api_socket: Path | None = None,
        pending_seconds: float = 0.0,
        restart_seconds: float = 1.0,
        limits: Limits | None = None,
        page_size: int = PAGE_SIZE,
        control_port: int | None = None,
    ) -> None:
        super().__init__(port, control_port)
        self._unpacked_images = unpacked_images
        self._mounts = mounts
        self._offline = offline
        self._data = data
        self._page_size = page_size
        self._limits = limits or Limits()
        self._machine: Callable[[Runner], Machine] = lambda runner: Machine(
            runner,
            PurePosixPath(WORKSPACE),
            images=images or {},
            variables=image_variables or {},
            registries=registries or {},
            isolated_subnets=frozenset(isolated_subnets),
            api_socket=api_socket,
            pending_seconds=pending_seconds,
            restart_seconds=restart_seconds,
        )
        self._reaches_api = api_socket is not None
        self._api_url: str | None = None
        self.token = token or kept_secret(data, "arm.token", lambda: secrets.token_urlsafe(32))
        self.subscription = subscription
        self.resource_groups = list(resource_groups)
        self.faults = Faults()
        self.groups: Groups | None = None

    def _open(self, stack: ExitStack) -> tuple[ASGIApp, ASGIApp]:
        folder = self._data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arm-")))
        self._clear(folder)
        stack.callback(self._clear, folder)
        runner = self._runner(folder)
        self._api_url = runner.api_url if self._reaches_api else None
        groups = self.groups = Groups(
            self._machine(runner), Quotas(self._limits), self.faults, self._page_size
        )
        app = ArmApp(
            Gateway(groups, self.faults),
            subscription=self.subscription,
            resource_groups=self.resource_groups,
            token=self.token,
            faults=self.faults,
        )
        return app, Control(app, groups, self.faults).app

    def _runner(self, folder: Path) -> SandboxRunner:
        images = self._unpacked_images or folder / "images"
        return SandboxRunner(folder / "runs", images=images, mounts=self._mounts, connected=not self._offline)

    def _clear(self, folder: Path) -> None:
        """End all that runs in a folder: what an emulator that was killed left behind, too."""
        with ThreadPoolExecutor(1) as pool:  # this thread may have an event loop that runs
            pool.submit(lambda: asyncio.run(self._cleared(folder))).result()

    async def _cleared(self, folder: Path) -> None:
        runner = self._runner(folder)
        try:
            for name in [run.name async for run in runner.list()]:
                await runner.remove(name)
        finally:
            await runner.close()

    @property
    def endpoint(self) -> str:
        """The address of Resource Manager."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def connection_string(self) -> str:
        """All that ``ACI_EMULATOR`` wants."""
        parts = {
            "Endpoint": self.endpoint,
            "SubscriptionId": self.subscription,
            "AccessToken": self.token,
            **({} if self._api_url is None else {"RunApiUrl": self._api_url}),
        }
        return "".join(f"{name}={value};" for name, value in parts.items())
