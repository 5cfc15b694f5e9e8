"""A repository that lives elsewhere: fetched and pushed over HTTP, once, and from nowhere else."""

import pytest

from lightning.domain.git_url import read_git_url
from lightning.errors import Conflict, InvalidRequest, Transient
from lightning.outbound import Guard
from lightning.repositories import (
    NO_COMMIT,
    Cause,
    Change,
    MergeConflict,
    Place,
    Remote,
    RemoteRefused,
    RepositoryStore,
)
from lightning.storage import SqliteStorage
from tests.contract.repository_kits import Cut, git, paths_of, put, text_of
from tests.lightning.repositories.git_server import GitServer

LOGIN = ("x", "canary-of-a-git-token")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
async def remote_of(server, tmp_path):
    """Give what opens the repository that lives on the server, as another process does."""
    storage = SqliteStorage(tmp_path / "log.db")
    made = []

    async def open_remote(url=None, login=None, allow="127.0.0.1", over=storage, resolve=None):
        guard = Guard.allowing(allow)
        place = Place(
            url or server.url, read_git_url(url or server.url, Guard.allowing("127.0.0.1,git.test")), login
        )
        store = RepositoryStore(over, tmp_path / "copies")
        if not made:
            made.append(await store.create("anna", "first"))
        return store.open("anna", "first", Remote(place, guard, resolve))

    yield open_remote
    await storage.close()


async def test_what_is_there_is_fetched(server, remote_of):
    # Given a server with one commit
    repository = await remote_of()
    assert await repository.refresh() == NO_COMMIT
    first = server.commit("a.txt", "one\n")

    # When it is fetched, and again after another
    assert await repository.refresh() == first
    assert await text_of(repository) == "one\n"
    second = server.commit("b.txt", "two\n")
    assert await repository.refresh() == await repository.refresh() == second

    # Then everything is here
    assert await paths_of(repository) == ["a.txt", "b.txt"]
    assert len((await repository.log()).commits) == 2


async def test_a_commit_is_pushed_to_the_branch_that_counts_there(server, remote_of):
    server.commit("a.txt", "one\n")
    repository = await remote_of()
    made = await put(repository, "b.txt", cause=Cause("run-1", "event-1"), message="write b.txt")
    assert server.log() == ["write b.txt", "write a.txt"]
    assert git("rev-parse", "trunk", cwd=server.folder / "notes.git").strip() == made
    assert await repository.tip() == made


async def test_an_empty_repository_gets_its_first_commit(server, remote_of):
    repository = await remote_of()
    await put(repository, message="first")
    assert await repository.refresh() == await repository.tip() != NO_COMMIT
    assert git("log", "--all", "--format=%s", cwd=server.folder / "notes.git").split() == ["first"]


async def test_a_repeat_pushes_once(server, remote_of, tmp_path):
    # Given a process that pushes, and dies before it has written down that it has
    server.commit("a.txt", "one\n")
    storage = SqliteStorage(tmp_path / "log.db")
    await (await remote_of()).refresh()
    broken = await remote_of(over=Cut(storage, before=True))
    with pytest.raises(Transient):
        await put(broken, "b.txt", cause=Cause("run-1"))
    assert len(server.pushes) == 1

    # When another goes on with the run, behind somebody else's commit
    server.commit("c.txt", "c")
    again = await (await remote_of()).commit(
        [Change("b.txt", b"other")], message="again", author="anna", cause=Cause("run-1")
    )

    # Then the commit is there once, as it was pushed first
    assert not again.created
    assert server.log() == ["write c.txt", "write b.txt", "write a.txt"]
    assert len(server.pushes) == 1
    await storage.close()


async def test_a_branch_that_is_gone_is_told(server, remote_of):
    server.commit("a.txt", "one\n")
    repository = await remote_of()
    before = await repository.refresh()
    git("update-ref", "-d", "refs/heads/trunk", cwd=server.folder / "notes.git")
    for attempt in (repository.refresh(), put(repository, "b.txt")):
        with pytest.raises(RemoteRefused):
            await attempt
    assert await repository.tip() == before


async def test_what_others_pushed_meanwhile_is_kept(server, remote_of):
    base = server.commit("a.txt", "one\n")
    repository = await remote_of()
    await repository.refresh()
    server.commit("b.txt", "theirs\n")
    await put(repository, "c.txt", base=base, cause=Cause("run-1"))
    assert server.log() == ["write c.txt", "write b.txt", "write a.txt"]
    server.commit("a.txt", "theirs\n")
    with pytest.raises(MergeConflict):
        await put(repository, "a.txt", "mine\n", base=base, cause=Cause("run-2"))
    assert await text_of(repository) == "theirs\n"


async def test_who_is_overtaken_between_fetch_and_push_begins_again(server, remote_of):
    # Given somebody who pushes when our push is on its way
    server.commit("a.txt", "one\n")
    repository = await remote_of()
    hook = server.folder / "notes.git/hooks/pre-receive"
    hook.write_text(
        "#!/bin/sh\n[ -e moved ] && exit 0\ntouch moved\n"
        "unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n"
        "new=$(git -c user.name=b -c user.email=b@x commit-tree trunk^{tree} -p trunk -m overtaken)\n"
        "git update-ref refs/heads/trunk $new\n"
    )
    hook.chmod(0o755)

    # When we push
    await put(repository, "c.txt", cause=Cause("run-1"))

    # Then it is behind theirs
    assert server.log() == ["write c.txt", "overtaken", "write a.txt"]
    assert len(server.pushes) == 2


async def test_a_branch_that_is_protected_is_told(server, remote_of):
    server.commit("a.txt", "one\n")
    repository = await remote_of()
    hook = server.folder / "notes.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RemoteRefused):
        await put(repository, "b.txt")
    assert server.log() == ["write a.txt"]


async def test_a_history_that_was_rewritten_there_counts(server, remote_of):
    server.commit("a.txt", "one\n")
    repository = await remote_of()
    await repository.refresh()
    notes = server.folder / "notes.git"
    other = git("commit-tree", "trunk^{tree}", "-m", "rewritten", cwd=notes).strip()
    git("update-ref", "refs/heads/trunk", other, cwd=notes)
    assert await repository.refresh() == other
    assert [each.message for each in (await repository.log()).commits] == ["rewritten"]


async def test_credentials_are_sent_and_never_told(server, remote_of):
    server.commit("a.txt", "one\n")
    server.login = LOGIN
    assert await (await remote_of(login=LOGIN)).refresh() != NO_COMMIT
    for wrong in (None, ("x", "canary-wrong")):
        with pytest.raises(RemoteRefused) as refused:
            await (await remote_of(login=wrong)).refresh()
        assert "canary" not in refused.value.message + str(refused.value.__cause__)


async def test_a_redirect_is_not_followed(server, remote_of, tmp_path):
    (tmp_path / "other").mkdir()
    with GitServer(tmp_path / "other") as other:
        other.commit("a.txt", "one\n")
        server.redirect = f"http://127.0.0.1:{other.port}"
        with pytest.raises((RemoteRefused, Transient)):
            await (await remote_of()).refresh()
        assert other.hosts == set()


async def test_git_connects_to_the_address_that_was_checked(server, remote_of):
    # Given a name that nobody but our resolver knows
    server.commit("a.txt", "one\n")
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return ["127.0.0.1"]

    # When it is fetched from
    url = f"http://git.test:{server.port}/notes.git"
    repository = await remote_of(url, allow="git.test", resolve=resolve)
    assert await repository.refresh() != NO_COMMIT

    # Then git asked nobody else for the name
    assert set(asked) == {("git.test", server.port)}
    assert server.hosts == {f"git.test:{server.port}"}


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"])
async def test_a_name_of_an_inner_address_is_refused(server, remote_of, address):
    async def resolve(_host, _port):
        return ["93.184.216.34", address]

    url = f"http://git.test:{server.port}/notes.git"
    with pytest.raises(RemoteRefused) as refused:
        await (await remote_of(url, allow="", resolve=resolve)).refresh()
    assert refused.value.code == "address_refused"
    assert server.hosts == set()


async def test_a_name_without_address_may_get_one_later(remote_of):
    async def resolve(_host, _port):
        raise OSError("no such name")

    with pytest.raises(Transient):
        await (await remote_of("http://git.test/notes.git", allow="git.test", resolve=resolve)).refresh()


async def test_what_must_not_be_in_a_repository_is_refused(server, remote_of):
    notes = server.folder / "notes.git"
    blob = git("hash-object", "-w", "--stdin", cwd=notes, input="x").strip()
    tree = git("mktree", cwd=notes, input=f"100644 blob {blob}\t.GIT\n").strip()
    evil = git("commit-tree", tree, "-m", "evil", cwd=notes).strip()
    git("update-ref", "refs/heads/trunk", evil, cwd=notes)
    repository = await remote_of()
    with pytest.raises(InvalidRequest) as refused:
        await repository.refresh()
    assert refused.value.code == "invalid_remote"
    assert await repository.tip() == NO_COMMIT


async def test_no_such_repository(server, remote_of):
    with pytest.raises(RemoteRefused):
        await (await remote_of(server.url.replace("notes", "others"))).refresh()


async def test_a_bundle_goes_to_where_it_lives(remote_of):
    with pytest.raises(Conflict) as refused:
        await (await remote_of()).load(b"")
    assert refused.value.code == "lives_elsewhere"
