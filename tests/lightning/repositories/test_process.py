"""Git runs in bounds, and nothing of ours or of the user who runs the platform reaches it."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from lightning.repositories import GitFailed
from lightning.repositories.child import Child
from lightning.repositories.git import Folder
from lightning.repositories.process import SLOW_AT_A_TIME, Git, TookTooLong


@pytest.fixture
def program(tmp_path):
    """Give what makes a program that stands for git."""

    def make(script):
        path = tmp_path / "git"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return Git(str(path))

    return make


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_takes_too_long_is_ended_with_all_that_it_began(program, tmp_path):
    pids = tmp_path / "pids"
    git = program(f"sleep 1000 & echo $$ $! > {pids}; wait")
    with pytest.raises(TookTooLong):
        await git.run(None, "x", timeout_seconds=5)
    assert [pid for pid in pids.read_text().split() if is_running(pid)] == []


async def test_endless_output_is_cut_off(program):
    git = program("exec yes")
    cut = await git.run(None, "x", max_bytes=1000, cut=True)
    assert (len(cut.data), cut.truncated) == (1000, True)
    with pytest.raises(GitFailed):
        await git.run(None, "x", max_bytes=1000)


async def test_searches_keep_no_other_command_waiting(program, tmp_path):
    # Given more searches than git runs at a time, none of which ends by itself
    begun, go_on = tmp_path / "begun", tmp_path / "go"
    script = f"echo >> {begun}; until [ -e {go_on} ]; do sleep 0.05; done"
    git = program(f'[ "$2" = grep ] || exec echo done\n{script}')
    folder = Folder(git, tmp_path)
    searches = [
        asyncio.ensure_future(folder.search("1" * 40, "x", regex=True, ignore_case=False)) for _ in range(8)
    ]
    while not begun.exists() or len(begun.read_text()) < SLOW_AT_A_TIME:  # noqa: ASYNC110 -- a program writes it
        await asyncio.sleep(0.01)
    # When something else is asked, then it is answered while they go on
    assert (await git.run(None, "x")).text == "done\n"
    assert not any(each.done() for each in searches)
    assert len(begun.read_text()) == SLOW_AT_A_TIME
    # And each of them has its turn
    go_on.touch()
    await asyncio.gather(*searches)
    assert len(begun.read_text()) == len(searches)


async def test_whoever_does_not_read_is_no_failure(program):
    done = await program("echo done").run(None, "x", stdin=bytes(1024 * 1024))
    assert done.text == "done\n"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_much_goes_both_ways_on_every_event_loop(program, new_loop):
    given = bytes(range(256)) * 16 * 1024
    with asyncio.Runner(loop_factory=new_loop) as runner:
        back = runner.run(program("exec cat").run(None, "x", stdin=given, max_bytes=len(given)))
        unread = runner.run(program("echo done").run(None, "x", stdin=given))
    assert back.data == given
    assert unread.text == "done\n"


def test_a_program_that_is_not_there_leaves_nothing_open():
    # what is left open is a warning, and so a failure
    with pytest.raises(FileNotFoundError):
        Child(["/nowhere/git"], {}, feeds=True)


async def test_a_failure_tells_nothing_of_this_machine(program):
    git = program("echo /secret/place >&2; exit 3")
    with pytest.raises(GitFailed) as failed:
        await git.run(None, "fetch")
    assert failed.value.message == "git fetch ended with status 3"
    assert failed.value.said == "/secret/place"


async def test_the_environment_is_made_for_it(program, monkeypatch):
    # Given a process with secrets, and with settings for git
    poison = {
        "OPENAI_API_KEY": "canary",
        "GIT_DIR": "/canary",
        "GIT_SSH_COMMAND": "canary",
        "HOME": "/canary",
    }
    for name, value in {**poison, "https_proxy": "canary", "LD_PRELOAD_X": "canary"}.items():
        monkeypatch.setenv(name, value)
    printed = await program("env").run(None, "x")
    assert "canary" not in printed.text
    assert "GIT_TERMINAL_PROMPT=0" in printed.text
    assert "GIT_CONFIG_NOSYSTEM=1" in printed.text


async def test_settings_of_the_user_and_of_a_repository_do_nothing(tmp_path, monkeypatch):
    # Given settings and hooks that would leave a mark, in the user's home and in the repository
    mark = tmp_path / "mark"
    home = tmp_path / "home"
    hooks = tmp_path / "hooks"
    for folder in (home, hooks):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (hooks / "reference-transaction").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (hooks / "reference-transaction").chmod(0o755)
    folder = Folder(Git.installed(), tmp_path / "r.git")
    await folder.make()
    evil = f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {mark}\n"
    (home / ".gitconfig").write_text(evil)
    with (folder.path / "config").open("a") as config:
        config.write(evil)
    (folder.path / "hooks").symlink_to(hooks)

    # When a ref is written
    blob = (await folder.git.run(folder.path, "hash-object", "-w", "--stdin", stdin=b"x")).text.strip()
    await folder.point("refs/tags/x", blob)

    # Then none of them ran
    assert not mark.exists()


@pytest.mark.parametrize("url", ["ext::sh -c touch% {mark}", "file:///{mark}", "ssh://localhost/{mark}"])
async def test_no_other_transport_is_spoken(tmp_path, url):
    mark = tmp_path / "mark"
    folder = Folder(Git.installed(), tmp_path / "r.git")
    await folder.make()
    with pytest.raises(GitFailed) as refused:
        await folder.git.run(folder.path, "fetch", "--end-of-options", url.format(mark=mark), "HEAD")
    assert "not allowed" in refused.value.said
    assert not mark.exists()
