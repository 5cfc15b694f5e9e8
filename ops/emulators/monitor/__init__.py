"""The ingestion of Application Insights on loopback, for the unmodified exporter, in part.

`FIDELITY.md` beside this file says what it does as Azure does, and what it leaves out.
"""

from ops.emulators.monitor.emulator import MonitorEmulator
from ops.emulators.monitor.server import main

__all__ = ["MonitorEmulator", "main"]
