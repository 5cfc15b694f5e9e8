"""What a process that was killed in the midst of a write leaves in the folder for temporary files."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from lightning.domain.repositories import open_repositories
from lightning.keys import with_keys
from lightning.repositories.scratch import scratch
from lightning.settings import Settings
from lightning.storage import SqliteStorage

WRITE = """
import asyncio, sys
from pathlib import Path
from lightning.repositories.git import Folder
from lightning.repositories.incoming import quarantine
from lightning.repositories.port import NO_COMMIT
from lightning.repositories.process import Git

async def write():
    async with quarantine(Folder(Git(sys.argv[1]), Path(sys.argv[2])), NO_COMMIT):
        pass

asyncio.run(write())
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def begin(tmp_path):
    """Open the repositories as a process does that begins."""
    settings = with_keys(Settings.load({"LIGHTNING_DATA": str(tmp_path / "data")}))
    return lambda: open_repositories(settings, SqliteStorage(tmp_path / "log.db"))


def make_old(folder) -> None:
    os.utime(folder, (1, 1))


def test_what_a_killed_write_left_is_removed_by_whoever_begins(temporary, begin, tmp_path):
    # Given a process that is killed while git writes for it
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nkill -9 $PPID\n")
    git.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", WRITE, git, tmp_path / "copy.git"],
        env={**os.environ, "TMPDIR": str(temporary)}, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    [left] = temporary.iterdir()
    # When another begins at once, then it is left alone, as it might be one that begins
    begin()
    assert left.exists()
    # And later it is removed
    make_old(left)
    begin()
    assert list(temporary.iterdir()) == []


def test_what_is_in_use_and_what_is_not_ours_stays(temporary, begin, tmp_path):
    # Given a folder that is used for long, and a link of such a name to a folder of somebody's
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("kept")
    with scratch("index") as used:
        link = temporary / used.name.replace("index", "link")
        link.symlink_to(theirs)
        os.utime(link, (1, 1), follow_symlinks=False)
        make_old(used)
        # When another begins, then both stay
        begin()
        assert used.exists()
        assert (theirs / "file").read_text() == "kept"
    # And what is not used any more is removed by whoever used it
    assert not used.exists()
