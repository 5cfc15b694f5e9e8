"""One emulated subscription, run in a thread of its own."""

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from lightning.containers import Runner
from lightning.containers.sandbox import SandboxRunner
from lightning.private_files import write_private
from lightning.shim.bubble import WORKSPACE
from ops.emulators.arm.app import ArmApp
from ops.emulators.arm.control import Control
from ops.emulators.arm.faults import Faults
from ops.emulators.arm.gateway import Gateway
from ops.emulators.arm.groups import PAGE_SIZE, Groups
from ops.emulators.arm.machine import Machine
from ops.emulators.arm.quotas import Limits, Quotas
from ops.emulators.loopback import serving

#: The subscription that there is, unless told otherwise.
SUBSCRIPTION: Final = "00000000-0000-0000-0000-00000000ac10"

#: The resource group that there is, unless told otherwise.
RESOURCE_GROUP: Final = "lightning"


class ArmEmulator:
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
        self._unpacked_images = unpacked_images
        self._mounts = mounts
        self._offline = offline
        self._port = port
        self._data = data
        self._control_port = control_port
        self._page_size = page_size
        self._limits = limits or Limits()
        self._stack = ExitStack()
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
        self.token = token or _kept_token(data)
        self.subscription = subscription
        self.resource_groups = list(resource_groups)
        self.faults = Faults()
        self.groups: Groups | None = None

    def start(self) -> None:
        """Begin to serve.

        Raises:
          OSError: A port is taken.
          LightningError: The machine cannot run containers.
        """
        with ExitStack() as stack:
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
            self._port = stack.enter_context(serving(app, "arm-emulator", self._port))
            if self._control_port is not None:
                control = Control(app, groups, self.faults).app
                self._control_port = stack.enter_context(serving(control, "arm-control", self._control_port))
            self._stack = stack.pop_all()

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

    def stop(self) -> None:
        """Stop serving; what runs ends, and the groups are gone."""
        self._stack.close()

    @property
    def endpoint(self) -> str:
        """The address of Resource Manager."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def control_url(self) -> str:
        """The address of the control interface."""
        return f"http://127.0.0.1:{self._control_port}"

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

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _kept_token(data: Path | None) -> str:
    """Give the token that a folder keeps, made when there is none."""
    made = secrets.token_urlsafe(32)
    if data is None:
        return made
    path = data / "arm.token"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, made)
    return path.read_text()
