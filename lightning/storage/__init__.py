"""Where documents live: one port, an adapter for each store."""

from lightning.keys import secret
from lightning.settings import Settings
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
from lightning.storage.sqlite_schema import check_file

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
    "container_names",
    "open_storage",
    "refuse_newer",
]


def container_names(settings: Settings) -> dict[str, str]:
    """Give the name that each of `CONTAINERS` has in the account."""
    return {
        "users": settings.user_container,
        "repos": settings.repo_container,
        "schedules": settings.schedule_container,
        "events": settings.event_container,
    }


def refuse_newer(settings: Settings) -> None:
    """Refuse to begin on a file that a newer program wrote; an account is asked when it is first needed.

    Raises:
      StoreTooNew: It did.
    """
    if settings.storage == "sqlite":
        check_file(settings.data / "log.db")


def open_storage(settings: Settings) -> Storage:
    """Open the store that the settings name."""
    if settings.storage == "sqlite":
        return SqliteStorage(settings.data / "log.db")
    # Imported here because the SDK takes a third of a second, which SQLite must not pay.
    from lightning.azure_identity import own_identity  # noqa: PLC0415
    from lightning.storage.cosmos_opening import open_cosmos  # noqa: PLC0415

    return open_cosmos(
        connection=secret(settings.cosmos_connection),
        endpoint=settings.cosmos_endpoint,
        identity=own_identity(settings.identity, settings.azure_client_id),
        database=settings.cosmos_database,
        containers=container_names(settings),
        expire_seconds=None if settings.expire_days is None else settings.expire_days * 24 * 3600,
        # on Azure they are deployed, with what they may cost; and no identity may make any
        create=settings.mode == "embedded" and settings.cosmos_connection is not None,
    )
