"""A walk through a store sees what is there now, and goes on from any place."""

import pytest

from lightning.storage import Create
from lightning.storage.walk import documents, everything
from ops.emulators.cosmos import CosmosEmulator
from tests.stores import cosmos_store


@pytest.fixture
async def storage(open_store):
    store = open_store()
    yield store
    await store.close()


async def keys(pages):
    return [(stored.body["userID"], stored.body["id"]) async for page in pages for stored in page]


async def test_it_goes_on_behind_any_document(storage):
    # Given users with one document and with more than a page
    for user, number in (("anna", 1), ("bert", 1_050), ("carl", 2)):
        for start in range(0, number, 100):
            bodies = [{"id": f"{n:04}", "userID": user} for n in range(start, min(start + 100, number))]
            await storage.batch("repos", user, [Create(body) for body in bodies])
    # When all of it is walked through
    every = await keys(everything(storage, "repos"))
    # Then each is met once, by user and id, and so is the rest from any of them on
    assert len(every) == 1_053
    assert every == sorted(set(every))
    for place in (0, 1, 1_000, 1_050, 1_051, 1_052):
        assert await keys(everything(storage, "repos", every[place])) == every[place + 1 :]
    assert await keys(documents(storage, "repos", "nobody")) == []


async def test_what_another_process_has_just_written_is_seen():
    # Given that whoever has no session token reads what is a minute old
    with CosmosEmulator(lag_seconds=60) as emulator:
        writer, reader = (cosmos_store(emulator.connection_string, "walked") for _ in range(2))
        await writer.batch("users", "anna", [Create({"id": "a", "userID": "anna"})])
        assert (await reader.query("users", "anna")).items == []
        # When another process walks through the user's documents, then it meets it
        assert await keys(documents(reader, "users", "anna")) == [("anna", "a")]
        await writer.close()
        await reader.close()
