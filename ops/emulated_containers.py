"""The image of the agents in emulated Container Instances: this machine's own system, with them in it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ops.emulators.arm.emulator import RESOURCE_GROUP
from worker.agent_home import sandbox_mounts

#: No registry has it: the name is one of those that never resolve (RFC 2606).
IMAGE: Final = "lightning.invalid/agents:1"

#: Its security group lets nothing out.
ISOLATED_SUBNET: Final = (
    "/subscriptions/emulated/resourceGroups/lightning/providers/Microsoft.Network/virtualNetworks/lightning"
    "/subnets/isolated"
)

#: Azure takes its time to place a group, which is what makes two creations at once one.
PENDING_SECONDS: Final = 0.2

_PYTHON: Final = Path(sys.base_prefix).resolve()


def emulator_options(images: Path, *, connected: bool = True) -> list[str]:
    """Give the options by which the emulator has the image, and those in a directory.

    Parameters:
      images: Directory of unpacked images, as of the sandbox.
      connected: Whether a run may have a network.
    """
    mounts = sandbox_mounts()
    [agents] = [seen for seen in mounts if seen.endswith("/agents")]
    variables = {
        "PYTHONPATH": str(Path(agents).parent),
        "PATH": f"{_PYTHON}/bin:/usr/local/bin:/usr/bin:/bin",
    }
    options = ["--image", IMAGE, "--unpacked-images", str(images), "--isolated-subnet", ISOLATED_SUBNET]
    options += ["--pending-seconds", str(PENDING_SECONDS)]
    for seen, path in mounts.items():
        options += ["--mount", f"{seen}={path}"]
    for name, value in variables.items():
        options += ["--image-variable", f"{name}={value}"]
    return options if connected else [*options, "--offline"]


def emulated_settings_of(connection: str) -> Mapping[str, str]:
    """Give the settings of an installation whose runs are there.

    Parameters:
      connection: What the emulator prints.
    """
    return {
        "LIGHTNING_RUNNER": "aci",
        "WORKER_IMAGE": IMAGE,
        "ACI_RESOURCE_GROUP": RESOURCE_GROUP,
        "ACI_ISOLATED_SUBNET": ISOLATED_SUBNET,
        "ACI_EMULATOR": connection,
    }
