"""Where documents live: one port, an adapter for each store."""

from lightning.settings import Settings, refuse_unbuilt
from lightning.storage.port import (
    CONTAINERS,
    Body,
    Build,
    Container,
    Create,
    Delete,
    Operation,
    Page,
    Replace,
    Storage,
    Stored,
    Upsert,
    Where,
)
from lightning.storage.sqlite import SqliteStorage

__all__ = [
    "CONTAINERS",
    "Body",
    "Build",
    "Container",
    "Create",
    "Delete",
    "Operation",
    "Page",
    "Replace",
    "SqliteStorage",
    "Storage",
    "Stored",
    "Upsert",
    "Where",
    "open_storage",
]


def open_storage(settings: Settings) -> Storage:
    """Open the store that the settings name.

    Raises:
      SettingsError: This version has no adapter for it.
    """
    refuse_unbuilt(settings)
    return SqliteStorage(settings.data / "log.db")
