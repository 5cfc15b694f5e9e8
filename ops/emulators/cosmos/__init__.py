"""An account of Azure Cosmos DB for NoSQL on loopback, for the unmodified SDK, in part.

`FIDELITY.md` beside this file says what it does as Azure does, and what it leaves out.
"""

from ops.emulators.cosmos.emulator import CosmosEmulator
from ops.emulators.cosmos.server import main

__all__ = ["CosmosEmulator", "main"]
