"""Container groups of Azure Resource Manager on loopback, for the unmodified SDK, in part; they really run.

`FIDELITY.md` beside this file says what it does as Azure does, and what it leaves out.
"""

from ops.emulators.arm.emulator import ArmEmulator
from ops.emulators.arm.quotas import Limits
from ops.emulators.arm.server import main

__all__ = ["ArmEmulator", "Limits", "main"]
