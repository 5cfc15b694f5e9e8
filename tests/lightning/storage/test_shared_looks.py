"""Shared looks: few for many, none of them older than who asked."""

import asyncio

import pytest

from lightning.storage.shared_looks import SharedLooks


class Shelf:
    """Something to look at, which takes until the gate is open."""

    def __init__(self):
        self.there = {"a": 0, "b": 0}
        self.begun = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def look(self, key: str) -> int:
        self.begun.append(key)
        found = self.there[key]
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def looks(shelf):
    return SharedLooks(shelf.look)


async def start(looks, *keys):
    """Begin to look, and let everybody get as far as they get."""
    tasks = [asyncio.create_task(looks.at(key)) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_whoever_comes_meanwhile_shares_the_next_look_which_sees_what_was_there_then(looks, shelf):
    # Given a look under way
    first = await start(looks, "a")
    # When something changes, and many come then
    shelf.there["a"] = 1
    later = await start(looks, *"aaaaa", "b")
    assert shelf.begun == ["a", "b"]
    shelf.gate.set()
    # Then they share one look, which sees it
    assert await asyncio.gather(*first, *later) == [0, 1, 1, 1, 1, 1, 0]
    assert shelf.begun == ["a", "b", "a"]


async def test_one_after_another_each_looks(looks, shelf):
    shelf.gate.set()
    for found in range(3):
        shelf.there["a"] = found
        assert await looks.at("a") == found
    assert shelf.begun == ["a"] * 3


async def test_all_who_share_a_look_hear_of_its_failure_and_the_next_is_another(looks, shelf):
    first = await start(looks, "a")
    later = await start(looks, "a", "a")
    shelf.error = OSError("away")
    shelf.gate.set()
    for task in (*first, *later):
        with pytest.raises(OSError, match="away"):
            await task
    shelf.error = None
    assert await looks.at("a") == 0


@pytest.mark.parametrize("given_up", [0, 1])
async def test_who_gives_up_takes_nobody_along(looks, shelf, given_up):
    # Given a look under way, and two who wait for the next
    first = await start(looks, "a")
    later = await start(looks, "a", "a")
    # When one of all gives up
    [first[0], later[0]][given_up].cancel()
    shelf.gate.set()
    # Then the others have what they wanted
    results = await asyncio.gather(*first, *later, return_exceptions=True)
    assert results.count(0) == 2
    assert await looks.at("a") == 0
