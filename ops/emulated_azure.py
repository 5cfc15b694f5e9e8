"""The services of Azure that `lightning up --emulate-azure` runs on loopback, kept in the data directory."""

import asyncio
import json
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from pydantic import SecretStr

from brokers import queue_names
from brokers.servicebus_queues import queue_properties
from lightning.containers.sandbox import SandboxRunner, open_sandbox
from lightning.errors import LightningError, Permanent
from lightning.log import EventLog
from lightning.private_files import replace_private
from lightning.settings import Settings, without_settings
from lightning.storage import open_storage
from ops.emulated_containers import IMAGE, ISOLATED_SUBNET, emulator_options
from ops.emulation import ENVIRONMENT_FILE
from ops.emulators.arm import ArmEmulator
from ops.emulators.arm.emulator import RESOURCE_GROUP
from ops.emulators.cosmos import CosmosEmulator
from ops.emulators.monitor import MonitorEmulator
from ops.emulators.servicebus import Policy, connection_string
from ops.ports import free_port
from worker.supervisor import NotStartedError, Process, Running, Supervisor, launch

#: In the data directory: what the emulators keep.
FOLDER: Final = "emulators"

#: The settings in `ENVIRONMENT_FILE`.
SHARED: Final = (
    *("LIGHTNING_MODE", "LIGHTNING_BROKER", "LIGHTNING_STORAGE", "LIGHTNING_RUNNER", "LIGHTNING_LLM"),
    *("LIGHTNING_DATA", "JWT_SIGNING_KEY", "NOTIFY_SECRET", "LIGHTNING_SECRET_KEY", "PORT"),
    *("SERVICEBUS_CONNECTION", "SERVICEBUS_QUEUE", "COSMOS_CONNECTION", "COSMOS_DATABASE"),
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    *("WORKER_IMAGE", "ACI_EMULATOR", "ACI_RESOURCE_GROUP", "ACI_ISOLATED_SUBNET"),
)

START_SECONDS: Final = 30.0


class EmulatedAzure:
    """Emulators of the services that an installation uses, from `start` to the end of a ``with`` block.

    They have a supervisor of their own: what uses them starts when they are ready, and is drained before
    they end. One that dies is started again at the same port, with what it had kept.

    Parameters:
      settings: Those of the installation, which name the services.
      start: Starts one.

    Raises:
      NotStartedError: Nothing can run here that stands for Container Instances.
    """

    def __init__(self, settings: Settings, start: Callable[[Process], Running] = launch) -> None:
        self._folder = settings.data / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ports: list[int] = []
        self._processes: list[Process] = []
        found: dict[str, object] = {"monitor_connection": SecretStr(self._monitor())}
        if settings.broker == "servicebus":
            found["servicebus_connection"] = SecretStr(self._servicebus(settings))
        if settings.storage == "cosmos":
            found["cosmos_connection"] = SecretStr(self._cosmos())
        if settings.runner == "aci":
            found |= self._containers(settings)
        self.settings = settings.model_copy(update=found)
        self._supervisor = Supervisor(self._processes, start=start)
        self._thread = threading.Thread(target=self._supervisor.run, name="emulators")

    def start(self, stopping: threading.Event) -> None:
        """Start them, make the containers, and write down how to reach them.

        Parameters:
          stopping: Set when nobody needs them any more.

        Raises:
          NotStartedError: It took too long.
        """
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not stopping.is_set():
            trouble = self._trouble()
            if trouble is None:
                self._write_environment()
                return
            if time.monotonic() > deadline:
                raise NotStartedError(f"no emulated Azure after {START_SECONDS:.0f} s: {trouble}")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _monitor(self) -> str:
        folder, port = self._folder / "monitor", free_port()
        self._run("monitor", port, "--data", str(folder))
        return MonitorEmulator(port=port, data=folder).connection_string

    def _cosmos(self) -> str:
        folder, port = self._folder / "cosmos", free_port()
        self._run("cosmos", port, "--data", str(folder))
        return CosmosEmulator(port=port, data=folder).connection_string

    def _servicebus(self, settings: Settings) -> str:
        folder, port = self._folder / "servicebus", free_port()
        declared = self._folder / "servicebus.json"
        replace_private(declared, json.dumps(_queues(settings)))
        self._run("servicebus", port, "--data", str(folder), "--config", str(declared), "--strict")
        return connection_string(port, Policy())

    def _containers(self, settings: Settings) -> Mapping[str, object]:
        try:
            open_sandbox(settings)
        except Permanent:
            message = (
                "containers are emulated by bubblewrap, which is not here: install it, or set "
                "LIGHTNING_RUNNER=sandbox, and tasks are refused"
            )
            raise NotStartedError(message) from None
        folder, port = self._folder / "arm", free_port()
        images = settings.sandbox_images or settings.data / "images"
        options = emulator_options(images, connected=settings.sandbox_network == "full")
        if settings.run_api_socket is not None:
            options += ["--api-socket", str(settings.run_api_socket)]
        self._run("arm", port, "--data", str(folder), *options)
        return {
            "worker_image": IMAGE,
            "aci_resource_group": RESOURCE_GROUP,
            "aci_isolated_subnet": ISOLATED_SUBNET,
            "aci_emulator": SecretStr(
                # it serves when the other process does; what it leads there is known before
                ArmEmulator(port=port, data=folder).connection_string + f"RunApiUrl={SandboxRunner.api_url};"
            ),
        }

    def _run(self, name: str, port: int, *arguments: str) -> None:
        self._ports.append(port)
        command = [sys.executable, "-m", f"ops.emulators.{name}", "--port", str(port), *arguments]
        # it prints its connection string, which is a secret
        self._processes.append(Process(name, command, without_settings(), output=subprocess.DEVNULL))

    def _trouble(self) -> str | None:
        try:
            for port in self._ports:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            asyncio.run(_make_containers(self.settings))
        except OSError:
            return "look above for what they say; another `lightning up` may use the same --data"
        except LightningError as error:
            return error.message
        return None

    def _write_environment(self) -> None:
        environ = self.settings.to_environ()
        lines = [f"{name}={shlex.quote(environ[name])}\n" for name in SHARED if name in environ]
        replace_private(self.settings.data / ENVIRONMENT_FILE, "".join(lines))


def _queues(settings: Settings) -> Mapping[str, Any]:
    """Declare the queues as somebody does who deploys them, in the form of Microsoft's own emulator."""
    properties = queue_properties(settings.lease_seconds)
    names = queue_names(settings.servicebus_queue)
    queues = [{"Name": name, "Properties": properties} for name in names]
    return {"UserConfig": {"Namespaces": [{"Name": "lightning", "Queues": queues}]}}


async def _make_containers(settings: Settings) -> None:
    # in azure mode nothing is made, as it is deployed: here we are who deploys
    storage = open_storage(settings.model_copy(update={"mode": "embedded"}))
    try:
        await EventLog(storage).check()
    finally:
        await storage.close()
