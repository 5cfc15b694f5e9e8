"""What is in a repository is told as it is."""

import io
import tarfile

import pytest

from lightning.errors import Conflict, InvalidRequest, NotFound
from lightning.repositories import NO_COMMIT, Change, GitMissing, RepositoryStore
from lightning.repositories.process import Git
from lightning.storage import SqliteStorage
from tests.contract.repository_kits import paths_of, put, text_of


class TestReading:
    async def test_an_empty_repository(self, repository):
        assert await repository.tip() == NO_COMMIT
        listing = await repository.files()
        assert (listing.commit, listing.entries, listing.next) == (NO_COMMIT, [], None)
        assert (await repository.log()).commits == []
        assert (await repository.search("x")).matches == []
        assert (await repository.diff()).files == []
        empty = io.BytesIO()
        await repository.archive(empty)
        empty.seek(0)
        with tarfile.open(fileobj=empty) as tar:
            assert tar.getnames() == []
        with pytest.raises(NotFound):
            await repository.read("a.txt")
        with pytest.raises(Conflict) as refused:
            await repository.bundle()
        assert refused.value.code == "empty_repository"

    async def test_files_are_listed_in_pages(self, repository):
        # Given files whose order by bytes is not that of their folders' names
        names = ["a-b", "a.txt", "a/x", "a0", "b/ünïcode ☃", "z"]
        await repository.commit([Change(n, n.encode()) for n in names], message="files", author="anna")

        # When they are listed two at a time
        pages, after = [], ""
        while True:
            page = await repository.files(after=after, limit=2)
            pages.append([entry.path for entry in page.entries])
            if page.next is None:
                break
            after = page.next

        # Then each comes once, in order, with its size
        assert [name for page in pages for name in page] == sorted(names, key=str.encode)
        assert all(len(page) == 2 for page in pages[:-1])
        assert [entry.size for entry in (await repository.files()).entries] == [
            len(name.encode()) for name in sorted(names, key=str.encode)
        ]
        assert await paths_of(repository, prefix="a/") == ["a/x"]

    async def test_a_file_is_read_as_it_was_at_a_commit(self, repository):
        first = await put(repository, text="one\n")
        second = await put(repository, text="two\0\xff\n")
        assert await text_of(repository, at=first) == "one\n"
        found = await repository.read("a.txt")
        assert (found.commit, found.data) == (second, "two\0\xff\n".encode())
        with pytest.raises(NotFound) as unknown:
            await repository.read("a.txt", at="1" * 40)
        assert unknown.value.code == "no_such_commit"

    @pytest.mark.parametrize("path", ["b.txt", "a", "a.txt/x", "fold", "folder"])
    async def test_what_is_no_file_is_not_found(self, repository, path):
        await put(repository)
        await put(repository, "folder/x")
        with pytest.raises(NotFound) as absent:
            await repository.read(path)
        assert absent.value.code == "no_such_file"

    async def test_lines_are_found(self, repository):
        text = "a.c\nabc\nA.C " + "x" * 2000 + "\n"
        await repository.commit(
            [Change("a:1:b.txt", text.encode()), Change("binary", b"a.c\0")], message="m", author="anna"
        )

        async def lines(pattern, **more):
            return [(m.path, m.line) for m in (await repository.search(pattern, **more)).matches]

        assert await lines("a.c") == [("a:1:b.txt", 1)]
        assert await lines("a.c", regex=True) == [("a:1:b.txt", 1), ("a:1:b.txt", 2)]
        assert await lines("a.c", ignore_case=True) == [("a:1:b.txt", 1), ("a:1:b.txt", 3)]
        assert await lines("--help") == []
        assert len((await repository.search("A.C")).matches[0].text) == 500

    @pytest.mark.parametrize("pattern", ["", "a\nb", "x" * 501, "a\0"])
    async def test_a_pattern_is_one_line(self, repository, pattern):
        await put(repository)
        with pytest.raises(InvalidRequest) as refused:
            await repository.search(pattern)
        assert refused.value.code == "invalid_pattern"

    async def test_a_pattern_that_cannot_be_read_is_refused(self, repository):
        await put(repository)
        with pytest.raises(InvalidRequest) as refused:
            await repository.search("(", regex=True)
        assert refused.value.code == "invalid_pattern"

    async def test_of_many_lines_the_first_are_given(self, repository):
        await put(repository, text="x\n" * 2000)
        found = await repository.search("x")
        assert (len(found.matches), found.truncated) == (500, True)

    async def test_the_history_is_told(self, repository):
        for number in range(5):
            await put(repository, f"{number}.txt", message=f"change {number}\n\nbecause")
        history = await repository.log(limit=2)
        assert [c.message for c in history.commits] == ["change 4\n\nbecause", "change 3\n\nbecause"]
        assert history.commits[0].author == "anna"
        assert history.commits[0].parents == [history.commits[1].id]
        rest = await repository.log(skip=history.next, limit=10)
        assert [c.message[7] for c in rest.commits] == ["2", "1", "0"]
        assert rest.next is None
        assert [c.message[7] for c in (await repository.log(path="2.txt")).commits] == ["2"]

    async def test_a_difference_is_told(self, repository):
        first = await put(repository, text="one\n")
        await repository.commit(
            [Change("a.txt", None), Change("b.txt", b"one\n"), Change("c.txt", b"new\n", executable=True)],
            message="move",
            author="anna",
        )
        diff = await repository.diff()
        assert [(f.path, f.status, f.before) for f in diff.files] == [
            ("b.txt", "renamed", "a.txt"),
            ("c.txt", "added", None),
        ]
        assert "+new" in diff.patch
        assert not diff.truncated
        assert diff.base == first
        back = await repository.diff(at=first, base=diff.commit)
        assert {f.status for f in back.files} == {"renamed", "deleted"}
        assert (await repository.diff(at=first)).files[0].status == "added"

    async def test_a_long_patch_is_cut_off(self, repository):
        await put(repository, text="x\n" * 300_000)
        diff = await repository.diff()
        assert diff.truncated
        assert [f.path for f in diff.files] == ["a.txt"]

    async def test_the_files_are_given_as_a_tar(self, repository):
        # Given files with attributes that would have `git archive` leave out or change some
        changes = {
            ".gitattributes": b"secret export-ignore\nversion export-subst\n",
            "secret": b"s",
            "version": b"$Format:%H$",
            "run.sh": b"#!/bin/sh\n",
        }
        await repository.commit(
            [Change(path, data, executable=path == "run.sh") for path, data in changes.items()],
            message="m",
            author="anna",
        )
        given = io.BytesIO()
        archive = await repository.archive(given)
        given.seek(0)
        with tarfile.open(fileobj=given) as tar:
            assert {m.name: tar.extractfile(m).read() for m in tar} == changes
            assert [m.name for m in tar if m.mode & 0o100] == ["run.sh"]
        assert archive.left_out == []

    async def test_without_git_the_error_says_what_to_do(self, tmp_path):
        storage = SqliteStorage(tmp_path / "log.db")
        other = await RepositoryStore(storage, tmp_path / "none", Git(None)).create("anna", "other")
        with pytest.raises(GitMissing) as missing:
            await put(other)
        assert "install" in missing.value.message
        await storage.close()
