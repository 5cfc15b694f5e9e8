"""What a run makes of its files becomes one commit, whoever else changes the repository."""

import io
import tarfile

import pytest

from lightning.errors import Conflict, InvalidRequest, Unauthorized
from lightning.repositories import MAX_FILE_BYTES, NO_COMMIT, Cause, Change, MergeConflict
from tests.contract.repository_kits import exchange, git, goes_on, paths_of, put, text_of


async def fetched(repository, base):
    """Fetch the files of a commit, as a run does."""
    given = io.BytesIO()
    await repository.archive(given, at=base)
    given.seek(0)
    with tarfile.open(fileobj=given) as tar:
        return {each.name: tar.extractfile(each).read().decode() for each in tar}


@pytest.fixture
async def base(repository):
    """Give the commit that runs begin from."""
    changes = [Change("a.txt", b"one\n"), Change("b/c.txt", b"two\n"), Change("run", b"#!", executable=True)]
    return (await repository.commit(changes, message="m", author="anna")).commit


async def commits(repository):
    return [(each.message.partition("\n")[0], each.run) for each in (await repository.log()).commits]


class TestOneCommit:
    async def test_what_was_changed_added_and_removed(self, repository, base):
        files = await fetched(repository, base)
        # When a run changes a file, adds another one and removes one
        del files["b/c.txt"]
        files |= {"a.txt": "ONE\n", "new/d.txt": "d"}
        made = await exchange(repository, files, base, executable=["run"])
        # Then it is one commit of these
        assert made.created
        [commit, _] = (await repository.log()).commits
        assert (commit.id, commit.run, commit.event) == (made.commit, "run-1", "event-1")
        diff = await repository.diff()
        assert {each.path: each.status for each in diff.files} == {
            "a.txt": "changed",
            "b/c.txt": "deleted",
            "new/d.txt": "added",
        }

    async def test_nothing_was_changed(self, repository, base):
        files = await fetched(repository, base)
        made = await exchange(repository, files, base, executable=["run"])
        assert (made.commit, made.created) == (base, False)
        # And what is changed later is taken
        assert (await exchange(repository, {"z": "z"}, base)).created

    async def test_what_may_be_run(self, repository, base):
        files = await fetched(repository, base)
        await exchange(repository, files, base, executable=["a.txt"])
        kinds = {each.path: each.kind for each in (await repository.files()).entries}
        assert kinds == {"a.txt": "executable", "b/c.txt": "file", "run": "file"}

    async def test_an_empty_repository_and_an_empty_tar(self, repository):
        assert await fetched(repository, NO_COMMIT) == {}
        await exchange(repository, {"a": "1"}, NO_COMMIT)
        await exchange(repository, {}, await repository.tip(), run="run-2")
        assert await paths_of(repository) == []
        assert len(await commits(repository)) == 2

    async def test_a_folder_takes_the_place_of_a_file_and_the_other_way_round(self, repository, base):
        await exchange(repository, {"a.txt/x": "1", "b": "2"}, base)
        assert await paths_of(repository) == ["a.txt/x", "b"]

    async def test_what_no_archive_holds_stays(self, repository, tmp_path):
        # Given a link, a submodule and a file that is too large, beside one that a run gets
        git("init", "-q", "-b", "main", "work", cwd=tmp_path)
        work = tmp_path / "work"
        (work / "link").symlink_to("/etc/passwd")
        (work / "large").write_bytes(bytes(MAX_FILE_BYTES + 1))
        (work / "a.txt").write_text("one\n")
        git("add", ".", cwd=work)
        git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub", cwd=work)
        git("commit", "-qm", "all", cwd=work)
        git("bundle", "create", "x.bundle", "main", cwd=work)
        base = (await repository.load((work / "x.bundle").read_bytes())).commit
        assert (await repository.archive(io.BytesIO())).left_out == ["large", "link", "sub"]
        assert await fetched(repository, base) == {"a.txt": "one\n"}

        # When the run removes all that it has
        await exchange(repository, {"b.txt": "2"}, base)
        # Then the others stand as they stood, and nothing is written through them
        kinds = {each.path: each.kind for each in (await repository.files()).entries}
        assert kinds == {"b.txt": "file", "large": "file", "link": "symlink", "sub": "submodule"}
        for path in ("link/x", "sub/x"):
            with pytest.raises(Conflict) as refused:
                await exchange(repository, {path: "x"}, base, run="run-2")
            assert refused.value.code == "path_taken"

    async def test_many_files_go_down_and_up(self, repository):
        # Given more than goes through memory at a time, in files and in bytes
        changes = [Change(f"{number}", b"%d" % number) for number in range(2500)]
        changes += [Change(f"large{number}", bytes([number]) * (5 << 20)) for number in range(4)]
        base = (await repository.commit(changes, message="m", author="anna")).commit
        given = io.BytesIO()
        await repository.archive(given, at=base)
        given.seek(0)
        with tarfile.open(fileobj=given) as tar:
            files = {each.name: tar.extractfile(each).read() for each in tar}
        assert files == {each.path: each.data for each in changes}
        # When all of it comes back changed
        changed = {path: data + b"x" for path, data in files.items()}
        await exchange(repository, changed, base)
        for path in ("0", "2499", "large0", "large3"):
            assert (await repository.read(path)).data == changed[path]

    async def test_what_is_refused_leaves_nothing_behind(self, repository, base, tmp_path):
        # Given the copy of the repository on this machine
        def size():
            return sum(path.stat().st_size for path in (tmp_path / "copies").rglob("*") if path.is_file())

        await put(repository, "a.txt", "theirs\n")
        before = size()
        # When a run sends much, and others changed the same
        with pytest.raises(MergeConflict):
            await exchange(repository, {"a.txt": "mine\n", "n": bytes(range(256)) * 4096}, base)
        # Then nothing of it is kept
        assert size() == before


class TestRepeats:
    async def test_the_same_again_makes_none(self, repository, base):
        files = {"a.txt": "mine\n"}
        made = await exchange(repository, files, base)
        await put(repository, "later.txt")
        again = await exchange(repository, files, base)
        assert (again.commit, again.created) == (made.commit, False)
        assert len(await commits(repository)) == 3

    async def test_the_same_again_where_it_was_merged(self, repository, base):
        await put(repository, "theirs.txt")
        files = {**await fetched(repository, base), "a.txt": "mine\n"}
        made = await exchange(repository, files, base)
        again = await exchange(repository, files, base)
        assert (again.commit, again.created) == (made.commit, False)

    @pytest.mark.parametrize("others", [False, True])
    async def test_other_files_are_refused(self, repository, base, others):
        if others:
            await put(repository, "theirs.txt")
        made = await exchange(repository, {"a.txt": "mine\n"}, base)
        for files in ({"a.txt": "other\n"}, {}, await fetched(repository, base)):
            with pytest.raises(Conflict) as refused:
                await exchange(repository, files, base)
            assert refused.value.code == "already_committed"
            assert made.commit in refused.value.message
        assert await repository.tip() == made.commit


class TestOthers:
    async def test_what_others_changed_is_kept(self, repository, base):
        # Given somebody who changes and adds other files while a run works
        await repository.commit(
            [Change("b/c.txt", b"theirs\n"), Change("theirs.txt", b"t")], message="theirs", author="b"
        )
        # When the run sends its own change back, with the rest as it got that
        files = {**await fetched(repository, base), "a.txt": "mine\n"}
        made = await exchange(repository, files, base, executable=["run"])
        # Then both are there, and its commit is one on top
        assert await text_of(repository) == "mine\n"
        assert await text_of(repository, "b/c.txt") == "theirs\n"
        assert await paths_of(repository) == ["a.txt", "b/c.txt", "run", "theirs.txt"]
        assert [each.path for each in (await repository.diff()).files] == ["a.txt"]
        assert (await repository.log()).commits[0].id == made.commit

    @pytest.mark.parametrize(
        ("theirs", "mine"), [(b"theirs\n", "mine\n"), (None, "mine\n"), (b"theirs\n", None)]
    )
    async def test_the_same_file_is_a_conflict(self, repository, base, theirs, mine):
        after = (await repository.commit([Change("a.txt", theirs)], message="m", author="b")).commit
        files = {**await fetched(repository, base), "a.txt": mine, "mine.txt": "m"}
        files = {path: text for path, text in files.items() if text is not None}
        with pytest.raises(MergeConflict) as conflict:
            await exchange(repository, files, base, executable=["run"])
        assert conflict.value.paths == ["a.txt"]
        assert "a.txt" in conflict.value.message
        assert await repository.tip() == after

    async def test_a_base_that_is_not_in_the_history(self, repository, base):
        with pytest.raises(Conflict) as refused:
            await exchange(repository, {"a": "1"}, "1" * 40)
        assert refused.value.code == "unknown_base"

    async def test_a_tar_that_is_none(self, repository, base):
        with pytest.raises(InvalidRequest) as refused:
            await repository.exchange(
                io.BytesIO(b"x"), base=base, cause=Cause("run-1"), message="m", author="a", goes_on=goes_on
            )
        assert refused.value.code == "invalid_tar"
        assert await repository.tip() == base


class TestSettling:
    async def test_it_tells_what_a_run_committed(self, repository, base):
        assert await repository.settle("run-1", base=base) is None
        made = await exchange(repository, {"a.txt": "mine\n"}, base)
        await put(repository, "later.txt")
        assert await repository.settle("run-1", base=base) == made.commit
        assert await repository.settle("run-2", base=base) is None

    async def test_nothing_is_committed_behind_it(self, repository, base):
        # Given a run that ends just after it was asked whether it goes on
        ended = False

        async def ends():
            nonlocal ended
            if ended:
                raise Unauthorized("the run is over")
            ended = True
            assert await repository.settle("run-1", base=base) is None

        # When it commits
        with pytest.raises(Unauthorized):
            await exchange(repository, {"a.txt": "mine\n"}, base, goes_on=ends)
        # Then nothing is there that was not told of
        assert await repository.tip() == base
