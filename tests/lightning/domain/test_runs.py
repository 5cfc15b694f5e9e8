"""Runs: one document a task, and a log that is taken over once, whatever its bytes are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.domain.run_log import EMPTY, PART_CHARS, read
from lightning.domain.runs import Runs
from lightning.errors import PreconditionFailed
from lightning.events import Draft
from lightning.log import EventLog
from tests.stores import storage_of


@pytest.fixture
async def storage(tmp_path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def task(storage):
    draft = Draft("a", "worker.task", "test", {"agent": "echo"}, "now", {})
    [event] = await EventLog(storage).append("anna", [draft])
    return event


async def test_a_task_has_one_run(storage, task):
    runs = Runs(storage)
    first, again = await runs.open(task), await runs.open(task)
    assert first == again
    assert (await runs.newest("anna", limit=10)).runs == [first.document]
    assert (await runs.newest("bert", limit=10)).runs == []
    assert await runs.find("bert", first.document["id"]) is None
    assert await runs.find("anna", "a") is None  # the task is no run


async def test_a_log_is_taken_over_once(storage, task):
    # Given a log that has got somewhere, in characters of two bytes
    runs = Runs(storage)
    run = await runs.open(task)
    printed = "é" * (2 * PART_CHARS + 7)
    data = printed.encode()
    behind = await runs.append(run, data[: PART_CHARS + 1], PART_CHARS + 1)
    # When somebody who does not know that adds the same
    with pytest.raises(PreconditionFailed):
        await runs.append(run, data, len(data))
    # And the rest comes from where it had got to
    begin = behind.document["log"]["bytes"]
    behind = await runs.append(behind, data[begin:], len(data))
    # Then every part of it is there once
    document = behind.document
    assert document["log"]["chars"] == len(printed)
    assert await runs.log(document, 0, len(printed)) == printed
    assert await runs.log(document, PART_CHARS - 1, 3) == "é" * 3
    assert await runs.log(document, len(printed) - 2, 100) == "éé"
    assert await runs.log(document, len(printed), 100) == ""


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), max_size=30))
@settings(deadline=None)
def test_bytes_are_the_same_text_however_they_are_cut(data, cuts):
    place, text = EMPTY, ""
    for cut in [*cuts, 60, 60]:
        begun = place["bytes"]
        more, place = read(place, data[begun : begun + cut], min(begun + cut, len(data)), last=False)
        text += more
    begun = place["bytes"]
    last, place = read(place, data[begun:], len(data), last=True)
    assert text + last == data.decode(errors="replace")
    assert place["bytes"] == len(data)
