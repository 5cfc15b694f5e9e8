"""A log that the log's own interface made is in order; whatever is written past it is found, by name."""

import asyncio
import shutil
import time

import pytest

from lightning.archive.marker import begin
from lightning.audit import Bounds, audit
from lightning.audit.finding import REMEDIES
from lightning.ids import conversation_document_id
from lightning.log import EventLog
from lightning.log.turns import new_conversation
from lightning.storage import Create, Delete, SqliteStorage, Upsert
from tests.full_log import MANY, OUTPUT, everything, fill, told

CONVERSATION = conversation_document_id("c")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "log.db"

    async def make() -> None:
        storage = SqliteStorage(path)
        await fill(storage)
        await storage.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def storage(full, tmp_path):
    shutil.copy(full, tmp_path / "log.db")
    storage = SqliteStorage(tmp_path / "log.db")
    yield storage
    await storage.close()


async def audited(storage, *, expired=False):
    bounds = Bounds(now=time.time(), claim_seconds=3600, sweep_seconds=24 * 3600, expired=expired)
    return await audit(storage, bounds, report=lambda stage, events: None)


async def codes(storage, **options):
    return sorted(finding.code for finding in (await audited(storage, **options)).findings)


async def change(storage, id, **fields):
    """Write fields of a document past the log."""
    stored = await storage.get("events", "anna", id)
    await storage.batch("events", "anna", [Upsert({**stored.body, **fields})])


async def remove(storage, id, user="anna"):
    await storage.batch("events", user, [Delete(id)])


async def test_a_log_of_our_own_is_in_order(storage):
    found = await audited(storage)
    assert found.findings == []
    assert (found.users, found.events) == (2, 8 + MANY + 1)


async def test_an_empty_store_is_in_order(tmp_path):
    storage = SqliteStorage(tmp_path / "log.db")
    assert (await audited(storage)).wrong == 0
    await storage.close()


FAR = time.time() + 30 * 24 * 3600

#: What is written past the log, and every finding that it makes.
DAMAGE = {
    "head gone": (lambda s: remove(s, "head"), ["head_missing"]),
    "head unreadable": (lambda s: change(s, "head", seq="8"), ["unreadable"]),
    "head behind": (lambda s: change(s, "head", seq=7), ["place_beyond_head"]),
    "head ahead": (lambda s: change(s, "head", seq=9), ["place_missing"]),
    "counters": (lambda s: change(s, "head", counts={"accepted": 8}), ["counters_differ"]),
    "state unknown": (
        lambda s: change(s, "x", state="lost"), ["counters_differ", "place_missing", "unreadable"],
    ),
    "state changed": (lambda s: change(s, "x", state="done"), ["counters_differ"]),
    "place twice": (lambda s: change(s, "x", seq=2), ["place_missing", "place_twice"]),
    "place below": (lambda s: change(s, "x", seq=0), ["place_beyond_head", "place_missing"]),
    "event gone": (lambda s: remove(s, "x"), ["counters_differ", "place_missing"]),
    "cause gone": (lambda s: change(s, OUTPUT, cause="nobody"), ["cause_missing", "output_of_another"]),
    "cause later": (lambda s: change(s, "d", cause="x", root="x"), ["cause_later"]),
    "root gone": (lambda s: change(s, OUTPUT, root="nobody"), ["root_differs", "root_missing"]),
    "root of a root": (lambda s: change(s, "x", root="a"), ["root_differs"]),
    "output gone": (lambda s: change(s, "a", outputs=[OUTPUT, "nobody"]), ["output_missing"]),
    "output of another": (lambda s: change(s, "d", outputs=[OUTPUT]), ["output_of_another"]),
    "claim far": (
        lambda s: change(s, OUTPUT, claim={"owner": "me", "until": FAR}, reclaimAt=FAR), ["claim_too_long"],
    ),
    "sweep far": (lambda s: change(s, "w", sweepAt=FAR), ["looked_at_too_late"]),
    "never swept": (lambda s: change(s, "w", sweepAt=None), ["never_looked_at"]),
    "never reclaimed": (lambda s: change(s, OUTPUT, reclaimAt=None), ["never_looked_at"]),
    "over and reclaimed": (lambda s: change(s, "d", reclaimAt=1.0), ["not_over"]),
    "held for no turn": (lambda s: change(s, "w", dueAt=None, sweepAt=None), ["never_looked_at"]),
    "over and claimed": (lambda s: change(s, "d", claim={"owner": "me", "until": 1.0}), ["not_over"]),
    "over and swept": (lambda s: change(s, "d", sweepAt=1.0), ["not_over"]),
    "turn of nothing": (lambda s: change(s, CONVERSATION, turns=["c2", "c3", "nobody"]), ["turn_missing"]),
    "turn of no message": (lambda s: change(s, CONVERSATION, turns=["c2", "c3", "w"]), ["turn_missing"]),
    "turn over": (lambda s: change(s, CONVERSATION, turns=["c2", "c3", "c1"]), ["turn_over"]),
    "turn twice": (lambda s: change(s, CONVERSATION, turns=["c2", "c3", "c3"]), ["turn_twice"]),
    "turns out of order": (lambda s: change(s, CONVERSATION, turns=["c3", "c2"]), ["turn_held", "turn_held"]),
    "turn not released": (lambda s: change(s, "c2", dueAt=None, sweepAt=None), ["turn_held"]),
    "turn left out": (lambda s: change(s, CONVERSATION, turns=["c2"]), ["turn_not_queued"]),
    "conversation gone": (lambda s: remove(s, CONVERSATION), ["turn_not_queued", "turn_not_queued"]),
    "conversation ahead": (lambda s: change(s, CONVERSATION, seq=99), ["place_beyond_head"]),
    "conversation misnamed": (
        lambda s: s.batch("events", "anna", [
            Create({**new_conversation("anna", "q"), "id": "q"}),
        ]),
        ["conversation_misnamed"],
    ),
    "attempts of nothing": (
        lambda s: s.batch("events", "anna", [
            Create({"id": "attempts-q", "userID": "anna", "kind": "webhook.attempts", "attempts": []}),
        ]),
        ["delivery_missing"],
    ),
    "account elsewhere": (
        lambda s: s.batch("users", "u", [
            Create({"id": "account", "userID": "u", "kind": "account", "username": "zoe"}),
        ]),
        ["account_misnamed"],
    ),
    "half an import": (lambda s: begin(s, "0" * 64), ["import_unfinished"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_is_found(storage, name):
    damage, expected = DAMAGE[name]
    # When something is written past the log
    await damage(storage)
    # Then it is found, and nothing else, with what to do
    found = await audited(storage)
    assert sorted(finding.code for finding in found.findings) == expected, found.findings
    assert all(finding.remedy and finding.detail for finding in found.findings)
    assert found.wrong == len(expected)


def test_every_remedy_is_of_a_finding():
    seen = {code for _, expected in DAMAGE.values() for code in expected}
    assert set(REMEDIES) - seen == {"moved"}


async def test_what_is_missing_is_named_in_stretches(storage):
    for number in (0, 1, 2, 10, 50, 60, 70, 80, 81):
        await remove(storage, f"b{number}", "bert")
    [places] = [each for each in (await audited(storage)).findings if each.code == "place_missing"]
    assert places.user_id == "bert"
    assert places.detail == f"no event stands at 2-4, 12, 52, 62, 72 and 2 more of 1-{MANY + 1}"


async def test_a_head_that_speaks_of_far_more(storage):
    await change(storage, "head", seq=2**62)
    [places] = (await audited(storage)).findings
    assert places.detail == f"no event stands at 9-{2**62} of 1-{2**62}"


class TestExpired:
    async def test_events_that_were_over_may_be_gone(self, storage):
        # Given that all of a tree expired but its last event, with what had followed
        for name in ("a", "d", "x", "c1"):
            await remove(storage, name)
        # Then their cause and place are missing, unless events expire
        assert {"cause_missing", "place_missing", "counters_differ"} <= set(await codes(storage))
        assert await codes(storage, expired=True) == []

    @pytest.mark.parametrize(
        "damage",
        [
            lambda storage: remove(storage, "w"),
            lambda storage: change(storage, "x", state="dead"),
            lambda storage: change(storage, "head", seq=10),
        ],
    )
    async def test_what_did_not_expire_is_still_found(self, storage, damage):
        await remove(storage, "a")
        await damage(storage)
        assert {"counters_differ", "place_missing"} <= set(await codes(storage, expired=True))


class Restless:
    """A store to which somebody writes between two pages, so many times."""

    def __init__(self, storage, times):
        self._storage, self._left = storage, times

    async def query(self, container, partition, *arguments, **options):
        page = await self._storage.query(container, partition, *arguments, **options)
        if container == "events" and partition == "anna" and self._left:
            self._left -= 1
            await EventLog(self._storage).append("anna", [told(f"new-{self._left}")])
        return page

    def __getattr__(self, name):
        return getattr(self._storage, name)


async def test_a_log_that_moves_is_read_again(storage):
    found = await audited(Restless(storage, 2))
    assert (found.findings, found.events) == ([], 8 + 2 + MANY + 1)


async def test_a_log_that_never_rests(storage):
    found = await audited(Restless(storage, 100))
    assert [(each.code, each.user_id) for each in found.findings] == [("moved", "anna")]
    assert len(await everything(storage)) > MANY
