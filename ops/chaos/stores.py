"""The store of an installation that is put under stress: a file, or Azure Cosmos DB on loopback."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ops.chaos.emulators import emulator
from ops.ports import free_port


class StoreServer(Protocol):
    """Where an installation keeps its log."""

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        ...

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give the processes that serve it to the installation with this data directory, by their names."""
        ...


class FileStore:
    """The SQLite file in the data directory."""

    def environment(self) -> dict[str, str]:
        """Give no settings: this is what an installation has by itself."""
        return {}

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give nothing: nobody serves a file."""
        del data
        return {}


class CosmosProcess:
    """An account on loopback, served by a process of the installation; what is written outlives it."""

    def __init__(self) -> None:
        self._port = free_port()
        self._key = base64.b64encode(secrets.token_bytes(64)).decode()

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        endpoint = f"http://127.0.0.1:{self._port}/"
        return {
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": f"AccountEndpoint={endpoint};AccountKey={self._key};",
        }

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give the emulator."""
        options = ["--port", str(self._port), "--key", self._key, "--data", str(data / "cosmos")]
        return {"cosmos": emulator("cosmos", *options, "--ranges", "3")}
