"""A repository in a store on this machine."""

import pytest

from lightning.repositories import RepositoryStore
from lightning.storage import SqliteStorage


@pytest.fixture
async def store(tmp_path):
    storage = SqliteStorage(tmp_path / "log.db")
    yield RepositoryStore(storage, tmp_path / "copies")
    await storage.close()


@pytest.fixture
async def repository(store):
    return await store.create("anna", "first")
