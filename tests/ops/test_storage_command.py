"""`lightning storage`: a deployment moves from SQLite to Azure Cosmos DB and back, and is proved whole."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lightning.archive import export, unfinished
from lightning.ids import new_id
from lightning.log import Claimed, EventLog
from lightning.settings import Settings
from lightning.storage import Create, Delete, Storage, open_storage
from lightning.storage.walk import PATIENCE_SECONDS
from ops.cli import app
from ops.emulators.cosmos import CosmosEmulator
from tests.full_log import MANY, everything, fill, told
from tests.ops.conftest import LIGHTNING, clean_environment
from tests.ops.terminal import Terminal


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A deployment on SQLite that no test changes: its data directory."""
    data = tmp_path_factory.mktemp("full") / "data"
    on({"LIGHTNING_DATA": str(data)}, fill)
    return data


@pytest.fixture(scope="module")
def archived(full, tmp_path_factory):
    """Its export, which no test changes."""
    folder = tmp_path_factory.mktemp("archive") / "it"
    run({"LIGHTNING_DATA": str(full)}, "export", folder)
    return folder


@pytest.fixture
def changed(full, tmp_path):
    """The environment of a copy of the deployment, for a test that changes it."""
    shutil.copytree(full, tmp_path / "changed")
    return {"LIGHTNING_DATA": str(tmp_path / "changed")}


@pytest.fixture
def cosmos(tmp_path):
    """The environment of a deployment on Cosmos DB, whose replicas have caught up as when nothing runs."""
    with CosmosEmulator(ranges=3, lag_seconds=0) as emulator:
        yield {
            "LIGHTNING_DATA": str(tmp_path / "cosmos"),
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": emulator.connection_string,
        }


def on(environment: dict[str, str], work: Callable[[Storage], object]):
    """Work on the store of an environment."""

    async def opened():
        storage = open_storage(Settings.load(environment))
        try:
            return await work(storage)
        finally:
            await storage.close()

    return asyncio.run(opened())


def run(environment: dict[str, str], *arguments: object, status: int = 0) -> str:
    """Run the command; give what it prints, or what it complains of."""
    ran = CliRunner(env=environment).invoke(app, ["storage", *map(str, arguments)])
    assert ran.exit_code == status, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    assert bool(ran.stderr) == (status == 1 and not ran.stdout), "progress is for terminals alone"
    return ran.stdout or ran.stderr


def test_a_deployment_moves_to_cosmos_and_back(full, archived, cosmos, tmp_path):
    # Given a deployment on SQLite, and its export
    before = on({"LIGHTNING_DATA": str(full)}, everything)
    # When it is imported into Cosmos DB, then each document is there, and all agree with each other
    done = json.loads(run(cosmos, "import", archived, "--json"))
    assert sum(done["documents"].values()) == len(before)
    assert on(cosmos, everything) == before
    assert "in order" in run(cosmos, "check")
    # And when that is exported and imported into another file
    exported = json.loads(run(cosmos, "export", tmp_path / "back", "--json"))
    assert exported["documents"] == done["documents"]
    back = {"LIGHTNING_DATA": str(tmp_path / "back-again")}
    assert f"imported {len(before)} documents" in run(back, "import", tmp_path / "back")
    # Then it is what it was, down to each number
    assert on(back, everything) == before
    big, five, _ = on(back, everything)["events", "bert", "n"]["metadata"]["n"]
    assert (big, five) == (2**62, 5.0)
    found = json.loads(run(back, "check", "--json"))
    assert found == {"users": 2, "events": 8 + MANY + 1, "wrong": 0, "findings": []}


def test_a_wrong_key_is_said_at_once(cosmos, tmp_path):
    # Given a key that the account does not know
    endpoint = cosmos["COSMOS_CONNECTION"].partition("AccountKey=")[0]
    wrong = {**cosmos, "COSMOS_CONNECTION": f"{endpoint}AccountKey=d3Jvbmctd3Jvbmctd3Jvbmc=;"}
    begin = time.monotonic()
    # When an operator asks, then what is wrong is said, without the time that an outage is given
    for command in (["check"], ["export", tmp_path / "none"]):
        assert "refuses us (401); check COSMOS_CONNECTION" in " ".join(run(wrong, *command, status=1).split())
    assert time.monotonic() - begin < PATIENCE_SECONDS


def test_who_was_moved_is_worked_for(archived, cosmos):
    # Given a deployment that was moved in the midst of work
    run(cosmos, "import", archived)

    async def go_on(storage: Storage):
        log = EventLog(storage)
        [released] = await log.end(await claimed_turn(log), "done")
        return released["id"], await log.append("anna", [])

    # Then the next message of its conversation is released when the one before it ends
    assert on(cosmos, go_on)[0] == "c3"
    assert "in order" in run(cosmos, "check")


async def claimed_turn(log: EventLog):
    verdict = await log.claim("anna", "c2", 1, "me", 10)
    assert isinstance(verdict, Claimed)
    return verdict


#: Imports, and is killed by itself when it has told of its progress so often.
KILLED_IMPORT = """
import asyncio, os, signal, sys
from pathlib import Path
from lightning.archive import load
from lightning.settings import from_environment
from lightning.storage import open_storage

left = int(sys.argv[2])

def report(stage, documents):
    global left
    left -= stage == "import"
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(load(open_storage(from_environment()), Path(sys.argv[1]), report=report))
"""


def test_an_import_that_is_killed_is_gone_on_with(full, cosmos, tmp_path):
    # Given an export of several parts, and an import of it that is killed behind the third
    async def small(storage: Storage):
        folder = tmp_path / "it"
        return await export(storage, folder, store="sqlite", report=lambda *_: None, part_bytes=4_000)

    parts = on({"LIGHTNING_DATA": str(full)}, small).parts
    program = [sys.executable, "-c", KILLED_IMPORT, str(tmp_path / "it"), "3"]
    killed = subprocess.run(program, env={**clean_environment(), **cosmos}, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert on(cosmos, unfinished).parts == 3 < parts
    # When it is repeated, then all is there
    assert json.loads(run(cosmos, "import", tmp_path / "it", "--json"))["resumed"]
    assert on(cosmos, everything) == on({"LIGHTNING_DATA": str(full)}, everything)
    assert "in order" in run(cosmos, "check")


@pytest.mark.sqlite_file
def test_an_export_of_a_file_is_of_one_moment_while_others_write(changed, tmp_path):
    # Given somebody who writes all the time
    stop = threading.Event()

    def write() -> None:
        async def on_and_on(storage: Storage) -> None:
            log = EventLog(storage)
            while not stop.is_set():
                await log.append("anna", [told(new_id())])

        on(changed, on_and_on)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # When it is exported meanwhile, again and again
        for number in range(3):
            run(changed, "export", tmp_path / str(number))
    finally:
        stop.set()
        writer.join()
    # Then each export is whole, and the later the longer
    sizes = list[int]()
    for number in range(3):
        target = {"LIGHTNING_DATA": str(tmp_path / f"target-{number}")}
        run(target, "import", tmp_path / str(number))
        assert "in order" in run(target, "check")
        sizes.append(len(on(target, everything)))
    assert sizes[0] < sizes[1] < sizes[2] <= len(on(changed, everything))
    assert not list(Path(changed["LIGHTNING_DATA"]).glob(".export-*"))


class TestCheck:
    def damage(self, environment):
        """Remove an event past the log, and add a document whose name a terminal would act on."""

        async def write(storage: Storage):
            await storage.batch("events", "anna", [Delete("x")])
            body = {"id": "account", "userID": "[red]eve", "kind": "account", "username": "zoe"}
            await storage.batch("users", "[red]eve", [Create(body)])

        on(environment, write)

    def test_what_is_wrong_and_what_to_do(self, changed):
        self.damage(changed)
        said = run(changed, "check", status=1)
        assert "user anna\n  place_missing  no event stands at 3 of 1-8\n    restore" in said
        assert "  counters_differ  the head counts 1 cancelled where there are 0\n" in said
        assert "user [red]eve\n  account_misnamed" in said, "what a store says is no markup"
        assert "3 wrong" in said
        found = json.loads(run(changed, "check", "--json", status=1))
        assert found["wrong"] == 3
        [missing] = [each for each in found["findings"] if each["code"] == "place_missing"]
        assert missing["userID"] == "anna"
        assert "LIGHTNING_EXPIRE_DAYS" in missing["remedy"]

    def test_events_that_expired(self, changed):
        on(changed, lambda storage: storage.batch("events", "anna", [Delete("x")]))
        run(changed, "check", status=1)
        assert "in order" in run(changed, "check", "--expired")

    def test_half_an_import(self, archived, changed):
        async def begun(storage: Storage):
            body = {"id": "import", "userID": "lightning-import", "kind": "import", "archive": "", "parts": 0}
            await storage.batch("users", "lightning-import", [Create(body)])

        on(changed, begun)
        assert "import_unfinished" in run(changed, "check", status=1)
        assert "another archive" in run(changed, "import", archived, status=1)


class TestMistakes:
    def test_no_installation(self, tmp_path):
        nowhere = {"LIGHTNING_DATA": str(tmp_path / "nowhere")}
        for arguments in (("check",), ("export", tmp_path / "it")):
            assert "--data" in run(nowhere, *arguments, status=1)
        assert list(tmp_path.iterdir()) == [], "nothing is made"

    def test_an_empty_store(self, cosmos, tmp_path):
        assert "the store is empty" in run(cosmos, "export", tmp_path / "it", status=1)

    def test_no_export(self, tmp_path, full):
        target = {"LIGHTNING_DATA": str(tmp_path / "target")}
        assert "no export" in run(target, "import", tmp_path / "nowhere", status=1)
        assert not (tmp_path / "target").exists()
        assert "no export" in run(target, "import", full, status=1)

    def test_a_target_that_is_not_empty(self, archived, changed):
        assert "not empty" in run(changed, "import", archived, status=1)

    def test_a_version_of_the_future(self, archived, tmp_path):
        shutil.copytree(archived, tmp_path / "it")
        header = json.loads((archived / "header.json").read_text())
        (tmp_path / "it" / "header.json").write_text(json.dumps({**header, "version": 2}))
        target = {"LIGHTNING_DATA": str(tmp_path / "target")}
        assert "use a newer one" in run(target, "import", tmp_path / "it", status=1)

    def test_a_damaged_part(self, archived, tmp_path):
        shutil.copytree(archived, tmp_path / "it")
        part = tmp_path / "it" / "part-000001.ndjson"
        part.write_bytes(part.read_bytes().replace(b"anna", b"anny", 1))
        target = {"LIGHTNING_DATA": str(tmp_path / "target")}
        assert "checksum" in run(target, "import", tmp_path / "it", status=1)
        assert "the store is empty" in run(target, "export", tmp_path / "other", status=1)

    def test_where_nothing_can_be_written(self, full, tmp_path):
        (tmp_path / "file").write_text("")
        said = run({"LIGHTNING_DATA": str(full)}, "export", tmp_path / "file", status=1)
        assert "File exists" in said
        assert said.count("\n") == 1


def test_progress_on_a_terminal(full, tmp_path):
    command = [LIGHTNING, "storage", "export", str(tmp_path / "it"), "--data", str(full)]
    with Terminal(command, {**clean_environment(), "COLUMNS": "100"}) as terminal:
        assert terminal.end() == 0
    assert "verify" in terminal.seen
    assert "exported" in terminal.seen
