"""Where the runs of an installation that is put under stress are: its own sandbox, or Azure on loopback."""

import secrets
import signal
import subprocess
import uuid
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx2

from lightning.settings import without_settings
from ops.chaos.emulators import emulator
from ops.chaos.forked import fork
from ops.emulated_containers import emulated_settings_of, emulator_options
from ops.emulators.arm import ArmEmulator
from ops.ports import free_port
from worker.supervisor import Process

#: Containers that a day of tests starts, which Azure would not allow.
_MANY = "100000"

_START_SECONDS = 60.0


class RunnerServer(Protocol):
    """Where the runs of installations are."""

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        ...


class OwnSandbox:
    """The sandbox of each installation.

    Parameters:
      images: Directory of unpacked images.
    """

    def __init__(self, images: Path) -> None:
        self._images = images

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        return {"LIGHTNING_SANDBOX_IMAGES": str(self._images)}


class EmulatedContainers:
    """Container Instances on loopback, a process that outlives the installations which it serves.

    Parameters:
      images: Directory of unpacked images.
      data: Where it keeps what runs.
    """

    def __init__(self, images: Path, data: Path) -> None:
        port, control, token = free_port(), free_port(), secrets.token_urlsafe(32)
        self._connection = ArmEmulator(port=port, token=token).connection_string
        # joined, as a token may begin with a dash
        options = [f"--token={token}", "--port", str(port), "--data", str(data)]
        options += ["--control-port", str(control)]
        options += ["--max-per-five-minutes", _MANY, "--max-per-hour", _MANY]
        command = emulator("arm", *options, *emulator_options(images))
        self._process = fork(Process("arm", command, without_settings(), output=subprocess.DEVNULL))
        self._control = httpx2.Client(base_url=f"http://127.0.0.1:{control}", trust_env=False)

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it; each knows its own runs by a word."""
        return {**emulated_settings_of(self._connection), "ACI_DEPLOYMENT": f"d-{uuid.uuid4().hex[:8]}"}

    def serves(self) -> bool:
        """Tell whether it is ready.

        Raises:
          RuntimeError: It will never be.
        """
        if self._process.poll() is not None:
            status = self._process.poll()
            raise RuntimeError(f"the emulator of Container Instances does not start; it ended with {status}")
        try:
            self.deployments()
        except httpx2.HTTPError:
            return False
        return True

    def deployments(self) -> int:
        """Count how often containers were started, for whatever installation."""
        return self._control.get("/usage").raise_for_status().json()["deployments"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_START_SECONDS)
