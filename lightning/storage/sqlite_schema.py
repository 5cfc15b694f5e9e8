"""The tables of the SQLite store: one a container, the declared fields in columns beside the JSON."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from lightning.storage.file_lock import FairFileLock
from lightning.storage.port import CONTAINERS
from lightning.storage.sqlite_file import SqliteFile
from lightning.storage.version import VERSION, check

#: Processes that start together after an upgrade wait so long for the one that fills the new columns and
#: indexes of a large file.
PREPARE_SECONDS: Final = 900.0

_CACHE_KIB: Final = 32 * 1024


def prepare(file: SqliteFile) -> None:
    """Make what is missing of the tables and indexes, in a new file or one of an older version.

    A process that finds everything there waits for nobody.

    Raises:
      StoreTooNew: A newer version wrote it.
      TimeoutError: Another process holds the file.
    """
    with closing(file.connect(_CACHE_KIB)) as connection:
        check(_version(connection), str(file.path))
        if is_complete(connection):
            return
        connection.execute(f"PRAGMA busy_timeout = {int(PREPARE_SECONDS * 1000)}")
        with closing(FairFileLock(file.path, PREPARE_SECONDS)) as lock, lock:
            create_tables(connection)


def check_file(path: Path) -> None:
    """Refuse a file that a newer program wrote; one that is not there is none.

    Raises:
      StoreTooNew: It did.
    """
    if path.is_file():
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            check(_version(connection), str(path))


def is_complete(connection: sqlite3.Connection) -> bool:
    """Tell whether a file has all tables, fields and indexes, and no index that serves no more."""
    return _version(connection) == VERSION and all(
        _columns(connection, name)
        and not _missing(connection, name, container.fields)
        and _indexes(connection, name) == {index_name(name, fields) for fields in container.indexes}
        for name, container in CONTAINERS.items()
    )


def create_tables(connection: sqlite3.Connection) -> None:
    """Make what is missing, all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    for name, container in CONTAINERS.items():
        columns = "".join(f', "{field}"' for field in container.fields)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} (userID TEXT NOT NULL, id TEXT NOT NULL,"
            f" etag TEXT NOT NULL{columns}, body BLOB NOT NULL, PRIMARY KEY (userID, id))"
        )
        _add_columns(connection, name, container.fields)
        _create_indexes(connection, name, container.indexes)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """Read which version of documents a file holds; 0 is one that nobody has finished to make."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _create_indexes(
    connection: sqlite3.Connection, container: str, indexes: tuple[tuple[str, ...], ...]
) -> None:
    """Make the indexes, of the documents that have all their fields; remove those that serve no more."""
    named = {index_name(container, fields): fields for fields in indexes}
    for name, fields in named.items():
        present = " AND ".join(f"{field} IS NOT NULL" for field in fields if field != "userID")
        connection.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON {container} ({', '.join(fields)}) WHERE {present}"
        )
    for name in _indexes(connection, container).difference(named):
        connection.execute(f"DROP INDEX {name}")


def _indexes(connection: sqlite3.Connection, container: str) -> set[str]:
    made = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
        (container,),
    )
    return {name for (name,) in made}


def index_name(container: str, fields: tuple[str, ...]) -> str:
    """Give the name of the index on these fields."""
    return f"{container}_{'_'.join(fields)}"


def _add_columns(connection: sqlite3.Connection, container: str, fields: tuple[str, ...]) -> None:
    """Give a file of an older version the fields that were declared since, filled from its documents."""
    for field in _missing(connection, container, fields):
        connection.execute(f'ALTER TABLE {container} ADD COLUMN "{field}"')
        connection.execute(
            f"UPDATE {container} SET \"{field}\" = json_extract(CAST(body AS TEXT), '$.{field}')"  # noqa: S608
        )


def _missing(connection: sqlite3.Connection, container: str, fields: tuple[str, ...]) -> list[str]:
    known = _columns(connection, container)
    return [field for field in fields if field not in known]


def _columns(connection: sqlite3.Connection, container: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({container})")}
