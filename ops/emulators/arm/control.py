"""The control interface, on a port of its own: faults, and what was asked."""

from typing import Any

from ops.emulators.arm.app import ArmApp
from ops.emulators.arm.faults import Fault, Faults
from ops.emulators.arm.groups import Groups
from ops.emulators.http_control import HttpControl


class Control(HttpControl[Fault]):
    """Changes how the emulator behaves while it runs; see `HttpControl`.

    ``GET /usage`` counts requests by operation and how often containers were deployed.

    Parameters:
      app: What it counts the requests of.
      groups: What it counts the deployments of.
      faults: Those in force.
    """

    def __init__(self, app: ArmApp, groups: Groups, faults: Faults) -> None:
        super().__init__(faults)
        self._arm = app
        self._groups = groups

    def usage(self) -> dict[str, Any]:
        """Tell what was asked."""
        return {"requests": dict(self._arm.requests), "deployments": self._groups.deployments}

    def forget_usage(self) -> None:
        """Count from nothing."""
        self._arm.requests.clear()
        self._groups.deployments = 0
