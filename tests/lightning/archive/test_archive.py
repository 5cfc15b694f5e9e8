"""A deployment as files: killed anywhere and gone on with, the other store has the same documents."""

import asyncio
import json
import subprocess
import sys

import pytest

from lightning.archive import Archive, export, load, unfinished
from lightning.errors import Conflict, NotFound, Permanent, Transient
from lightning.log import EventLog
from lightning.storage import Create, Delete, SqliteStorage, Upsert
from lightning.storage.walk import patiently
from tests.full_log import everything, fill, told
from tests.lightning.domain.conftest import Died, Mortal

#: So small that there are several parts.
PART_BYTES = 12_000

#: Exports, and is killed by itself when it has told of its progress so often.
KILLED_EXPORT = """
import asyncio, os, signal, sys
from pathlib import Path
from lightning.archive import export
from lightning.storage import SqliteStorage

left = int(sys.argv[3])

def report(stage, documents):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    storage = SqliteStorage(Path(sys.argv[1]))
    await export(storage, Path(sys.argv[2]), store="sqlite", report=report, part_bytes=12_000)

asyncio.run(main())
"""


def silent(stage: str, documents: int) -> None:
    del stage, documents


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A deployment that no test changes: its file."""
    path = tmp_path_factory.mktemp("full") / "log.db"

    async def make() -> None:
        storage = SqliteStorage(path)
        await fill(storage)
        await storage.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def source(full):
    storage = SqliteStorage(full)
    yield storage
    await storage.close()


@pytest.fixture
async def target(tmp_path):
    storage = SqliteStorage(tmp_path / "target" / "log.db")
    yield storage
    await storage.close()


@pytest.fixture(scope="module")
def archived(full, tmp_path_factory):
    """An archive of the deployment that no test changes."""
    folder = tmp_path_factory.mktemp("archive") / "it"

    async def make() -> None:
        storage = SqliteStorage(full)
        await exported(storage, folder)
        await storage.close()

    asyncio.run(make())
    return folder


async def exported(storage, folder, report=silent):
    return await export(storage, folder, store="sqlite", report=report, part_bytes=PART_BYTES)


def copied(archived, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in archived.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


class TestExport:
    async def test_what_is_written(self, source, archived):
        # Then every document is a line of some part, ordered, and no file can be read by others
        parts = list(Archive(archived).parts())
        assert len(parts) > 3
        lines = [(part.container, body) for part in parts for body in part.bodies()]
        documents = await everything(source)
        assert {(name, body["userID"], body["id"]): body for name, body in lines} == documents
        assert len(lines) == len(documents)
        assert {file.stat().st_mode & 0o777 for file in archived.iterdir()} == {0o600}
        assert archived.stat().st_mode & 0o777 == 0o700
        # And the header and the trailer say what it is
        header, trailer = Archive(archived).header(), Archive(archived).trailer()
        assert (header.format, header.version, header.store) == ("lightning-export", 1, "sqlite")
        assert sum(trailer.documents.values()) == len(documents)
        assert trailer.parts == len(parts)

    @pytest.mark.parametrize("at", [1, 3, 8])
    async def test_one_that_was_killed_is_gone_on_with(self, full, source, tmp_path, archived, at):
        # Given an export that was killed, and half a file that it left
        folder = tmp_path / "it"
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", KILLED_EXPORT, str(full), str(folder), str(at)],
            check=False,
            timeout=60,
        )
        assert killed.returncode == -9
        assert Archive(folder).trailer() is None
        (folder / ".part-000009.ndjson.0badc0de").write_text('{"part":9,')
        written = {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*")}
        # When it is repeated
        done = await exported(source, folder)
        # Then what was there is kept, and the archive is what it would have been
        assert done.resumed
        assert {name: (folder / name).stat().st_mtime_ns for name in written} == written
        assert len(written) >= min(at, 3)
        assert sorted(file.name for file in folder.iterdir()) == sorted(
            file.name for file in archived.iterdir()
        )
        again = [body for part in Archive(folder).parts() for body in part.bodies()]
        assert again == [body for part in Archive(archived).parts() for body in part.bodies()]

    @pytest.mark.parametrize(
        "move",
        [
            lambda storage: EventLog(storage).append("bert", [told("new")]),
            # the very last document, behind which nothing differs
            lambda storage: storage.batch("events", "bert", [Delete("n")]),
            lambda storage: storage.batch("events", "zoe", [Create({"id": "z", "userID": "zoe"})]),
        ],
        ids=["changed", "gone", "more"],
    )
    async def test_a_deployment_that_moves_meanwhile(self, tmp_path, move):
        storage = SqliteStorage(tmp_path / "log.db")
        await fill(storage)
        moves: list[asyncio.Future] = []

        def report(stage, documents):
            if stage == "verify" and not moves:
                moves.append(asyncio.ensure_future(move(storage)))

        # When somebody writes behind what was read, then it is not called an export
        with pytest.raises(Conflict, match="stop the platform") as refused:
            await exported(storage, tmp_path / "it", report)
        assert refused.value.code == "moved"
        assert Archive(tmp_path / "it").trailer() is None
        await asyncio.gather(*moves)
        await storage.close()

    async def test_what_it_does_not_write_into(self, source, archived, tmp_path, target):
        with pytest.raises(Conflict, match="another directory") as refused:
            await exported(source, archived)
        assert refused.value.code == "already_exported"
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(Conflict, match="other files"):
            await exported(source, tmp_path)
        with Archive(tmp_path / "busy").alone(), pytest.raises(Conflict, match="wait for it"):
            await exported(source, tmp_path / "busy")
        with pytest.raises(NotFound, match="empty"):
            await exported(target, tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()

    async def test_a_part_of_another_store(self, source, tmp_path, archived):
        folder = copied(archived, tmp_path)
        (folder / "trailer.json").unlink()
        with pytest.raises(Conflict, match="not of cosmos"):
            await export(source, folder, store="cosmos", report=silent)


class TestImport:
    async def test_the_other_store_has_the_same(self, source, archived, target):
        done = await load(target, archived, report=silent)
        assert await everything(target) == await everything(source)
        assert not done.resumed
        assert await unfinished(target) is None

    async def test_killed_before_any_write_it_is_gone_on_with(self, source, archived, tmp_path):
        expected = await everything(source)
        at, died = 0, True
        while died:
            at, died = at + 1, False
            storage = SqliteStorage(tmp_path / f"{at}.db")
            # Given an import whose process dies before one of its writes
            try:
                await load(Mortal(storage, at), archived, report=silent)
            except Died:
                died = True
            if died:
                # When it is repeated, then all is there
                await load(storage, archived, report=silent)
            assert await everything(storage) == expected
            assert await unfinished(storage) is None
            await storage.close()
        assert at > 10

    async def test_one_that_is_gone_on_with_skips_what_is_written(self, archived, target):
        done: list[str] = []
        with pytest.raises(Died):
            await load(Mortal(target, 8), archived, report=lambda stage, _: done.append(stage))
        parts = (await unfinished(target)).parts
        assert 0 < parts == done.count("import")
        again: list[str] = []
        assert (await load(target, archived, report=lambda stage, _: again.append(stage))).resumed
        assert again.count("import") == Archive(archived).trailer().parts - parts

    async def test_a_target_that_is_not_empty(self, archived, target):
        await target.batch("repos", "zoe", [Create({"id": "r", "userID": "zoe"})])
        with pytest.raises(Conflict, match="not empty") as refused:
            await load(target, archived, report=silent)
        assert refused.value.code == "not_empty"
        assert len(await everything(target)) == 1

    async def test_another_import_that_is_not_finished(self, source, archived, target, tmp_path):
        with pytest.raises(Died):
            await load(Mortal(target, 8), archived, report=silent)
        await exported(source, tmp_path / "other")
        with pytest.raises(Conflict, match="another archive"):
            await load(target, tmp_path / "other", report=silent)

    @pytest.mark.parametrize("what", [{"id": "stranger"}, {"id": "a"}])
    async def test_somebody_writes_to_the_target(self, archived, target, what):
        # Given an import that was killed, and a document that is none of its
        with pytest.raises(Died):
            await load(Mortal(target, 3), archived, report=silent)
        await target.batch("events", "anna", [Upsert({**what, "userID": "anna", "kind": "mine"})])
        # When it goes on, then it does not call it an import, and leaves the document alone
        stages: list[str] = []
        with pytest.raises(Conflict, match="stop the platform") as refused:
            await load(target, archived, report=lambda stage, _: stages.append(stage))
        assert refused.value.code == "moved"
        assert (await target.get("events", "anna", what["id"])).body["kind"] == "mine"
        # And one that stands in its way is met at once, not at the end
        assert ("verify" in stages) == (what["id"] == "stranger")


class Refusing:
    """A store that refuses every write once: some before they are done, and some behind."""

    def __init__(self, storage):
        self._storage = storage
        self._refused: set[str] = set()

    async def batch(self, container, partition, operations):
        key = repr((container, partition, operations))
        if key in self._refused:
            return await self._storage.batch(container, partition, operations)
        self._refused.add(key)
        if len(self._refused) % 2:
            await self._storage.batch(container, partition, operations)
        raise Transient("not now", retry_after=0.001)

    def __getattr__(self, name):
        return getattr(self._storage, name)


class TestPatience:
    async def test_a_store_that_refuses_for_the_moment_is_asked_again(self, source, archived, target):
        # Given that the beginning is noted: whether it was, only the next run can tell
        with pytest.raises(Transient):
            await load(Refusing(target), archived, report=silent)
        await load(Refusing(target), archived, report=silent)
        assert await everything(target) == await everything(source)
        assert await unfinished(target) is None

    async def test_patience_has_an_end(self):
        asked = []

        async def ask():
            asked.append(1)
            raise Transient("not now", retry_after=0.02)

        with pytest.raises(Transient):
            await patiently(ask, patience_seconds=0.05)
        assert len(asked) == 3


class TestDamage:
    async def refused(self, folder, target, says):
        with pytest.raises((Permanent, NotFound), match=says) as refused:
            await load(target, folder, report=silent)
        assert await everything(target) == {}, "nothing is written of what is not in order"
        assert await unfinished(target) is None
        return refused.value.code

    async def test_no_directory(self, target, tmp_path):
        assert await self.refused(tmp_path / "nowhere", target, "no export") == "not_found"

    async def test_a_version_of_the_future(self, archived, target, tmp_path):
        folder = copied(archived, tmp_path)
        header = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps({**header, "version": 2, "more": 1}))
        assert await self.refused(folder, target, "newer one") == "archive_too_new"

    async def test_an_export_that_is_not_complete(self, archived, target, tmp_path):
        folder = copied(archived, tmp_path)
        (folder / "trailer.json").unlink()
        assert await self.refused(folder, target, "storage export") == "archive_incomplete"

    @pytest.mark.parametrize(
        ("name", "damage", "says"),
        [
            ("part-000002.ndjson", lambda text: text.replace(b"test", b"tost", 1), "checksum"),
            ("part-000002.ndjson", lambda text: text[: len(text) // 2], "part-000002"),
            ("part-000002.ndjson", lambda text: text[:20], "cut off"),
            ("part-000003.ndjson", lambda _: None, "missing"),
            ("header.json", lambda text: text.replace(b"lightning-export", b"another-format"), "header"),
            ("header.json", lambda text: text.replace(b"sqlite", b"cosmos"), "another export"),
            ("header.json", lambda _: b"{", "no JSON"),
            ("trailer.json", lambda text: text.replace(b'"parts":', b'"ports":'), "ports|parts"),
        ],
    )
    async def test_files_that_are_not_as_they_were(self, archived, target, tmp_path, name, damage, says):
        folder = copied(archived, tmp_path)
        text = damage((folder / name).read_bytes())
        (folder / name).unlink() if text is None else (folder / name).write_bytes(text)
        assert await self.refused(folder, target, says) == "archive_broken"

    async def test_parts_that_changed_places(self, archived, target, tmp_path):
        folder = copied(archived, tmp_path)
        one, two = (folder / f"part-00000{n}.ndjson" for n in (1, 2))
        one_text, two_text = one.read_bytes(), two.read_bytes()
        one.write_bytes(two_text)
        two.write_bytes(one_text)
        assert await self.refused(folder, target, "another part") == "archive_broken"

    async def test_a_damaged_part_is_not_gone_on_with(self, source, archived, tmp_path):
        folder = copied(archived, tmp_path)
        (folder / "trailer.json").unlink()
        last = max(folder.glob("part-*"))
        last.write_bytes(last.read_bytes()[:-5])
        with pytest.raises(Permanent, match="damaged"):
            await exported(source, folder)
