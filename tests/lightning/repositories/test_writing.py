"""What is written becomes one commit, or nothing; what others changed is kept."""

import pytest

from lightning.errors import Conflict, InvalidRequest, NotFound
from lightning.repositories import NO_COMMIT, Cause, Change, MergeConflict
from tests.contract.repository_kits import paths_of, put, text_of


class TestWriting:
    async def test_files_are_written_and_removed_as_one_commit(self, repository):
        await put(repository, "old.txt")
        made = await repository.commit(
            [Change("old.txt", None), Change("new/deep/x.txt", b"x")], message="both", author="anna"
        )
        assert made.created
        assert await paths_of(repository) == ["new/deep/x.txt"]
        assert len((await repository.log()).commits) == 2

    async def test_nothing_is_committed_where_nothing_changes(self, repository):
        first = await put(repository)
        again = await repository.commit([Change("a.txt", b"one\n")], message="again", author="anna")
        assert (again.commit, again.created) == (first, False)

    async def test_what_may_be_run_stays_so(self, repository):
        async def kind():
            return (await repository.files()).entries[0].kind

        await repository.commit([Change("x", b"1", executable=True)], message="m", author="anna")
        await put(repository, "x", "2")
        assert await kind() == "executable"
        await repository.commit([Change("x", b"2", executable=False)], message="m", author="anna")
        assert await kind() == "file"

    async def test_trailers_say_why(self, repository):
        await put(repository, message="The report.\n\nIt is ready.", cause=Cause("run-1", "event-1"))
        [commit] = (await repository.log()).commits
        assert (commit.run, commit.event) == ("run-1", "event-1")
        assert commit.message == (
            "The report.\n\nIt is ready.\n\nLightning-Run: run-1\nLightning-Event: event-1"
        )

    async def test_one_event_may_have_several_effects(self, repository):
        causes = [Cause(event="event-1", effect=f"event-1:{n}") for n in (0, 1)]
        first, second = [await put(repository, f"{n}.txt", cause=cause) for n, cause in enumerate(causes)]
        again = await put(repository, "0.txt", "other", cause=causes[0])
        assert again == first != second
        assert [each.effect for each in (await repository.log()).commits] == ["event-1:1", "event-1:0"]

    @pytest.mark.parametrize("cause", [Cause("run-1", "event-1"), Cause(event="event-1")])
    async def test_a_repeat_finds_the_first_commit(self, repository, cause):
        # Given a change that was made, and others since
        first = await put(repository, cause=cause)
        await put(repository, "b.txt", cause=Cause("run-2", "event-2"))

        # When it is made again, even with another content
        again = await repository.commit(
            [Change("a.txt", b"other\n")], message="again", author="anna", base=NO_COMMIT, cause=cause
        )

        # Then there is one commit of it
        assert (again.commit, again.created) == (first, False)
        assert len((await repository.log()).commits) == 2
        assert await text_of(repository) == "one\n"

    @pytest.mark.parametrize(
        "message", ["", " \n", "x\n\nLightning-Run: run-1", " lightning-event: x", "x" * 20_000]
    )
    async def test_nobody_writes_our_trailers(self, repository, message):
        with pytest.raises(InvalidRequest) as refused:
            await put(repository, message=message)
        assert refused.value.code == "invalid_message"

    @pytest.mark.parametrize("run", ["a\nLightning-Event: x", "", "a b", "x" * 200])
    async def test_a_cause_is_one_word(self, repository, run):
        with pytest.raises(InvalidRequest):
            await put(repository, cause=Cause(run))

    @pytest.mark.parametrize("author", ["<>", "", "a\nb <x@y>", "Ünï"])
    async def test_any_name_may_be_an_authors(self, repository, author):
        await put(repository, author=author)
        assert len((await repository.log()).commits) == 1

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            ".git/config",
            "sub/.git/hooks/post-commit",
            ".GIT/config",
            ".git./config",
            ".git /config",
            "git~1/config",
            ".git::$INDEX_ALLOCATION/config",
            ".g\u200cit/config",
            "a\\..\\b",
            "a\nb",
            "a\x7fb",
            "a\ud800",
            "x" * 256,
            "/".join(["x" * 100] * 11),
        ],
    )
    async def test_a_path_that_leads_elsewhere_is_refused(self, repository, path):
        await put(repository)
        for attempt in (
            repository.commit([Change(path, b"x")], message="m", author="anna"),
            repository.commit([Change(path, None)], message="m", author="anna"),
            repository.read(path),
            repository.log(path=path),
        ):
            with pytest.raises(InvalidRequest) as refused:
                await attempt
            assert refused.value.code == "invalid_path"
        assert await paths_of(repository) == ["a.txt"]

    async def test_names_that_git_would_read_otherwise_are_plain_names(self, repository):
        names = ["--all", "-x", ":(glob)**", "*", ":", "HEAD", "a:b", ".gitignore", 'q"uote', "~x"]
        await repository.commit([Change(n, n.encode()) for n in names], message="m", author="anna")
        assert sorted(await paths_of(repository)) == sorted(names)
        for name in names:
            assert await text_of(repository, name) == name
            assert len((await repository.log(path=name)).commits) == 1

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ([], "invalid_path"),
            ([Change("b", b"1"), Change("b", b"2")], "invalid_path"),
            ([Change("b", None)], "no_such_file"),
            ([Change("a.txt/b", b"1")], "path_taken"),
            ([Change("folder", b"1")], "path_taken"),
            ([Change("n", b"1"), Change("n/m", b"1")], "path_taken"),
            ([Change("b", bytes(8 * 1024 * 1024 + 1))], "file_too_large"),
        ],
    )
    async def test_what_cannot_be_written_is_refused_whole(self, repository, changes, code):
        await put(repository)
        before = await put(repository, "folder/x")
        with pytest.raises((InvalidRequest, Conflict)) as refused:
            await repository.commit(
                [*changes, *([Change("c", b"1")] if changes else [])], message="m", author="a"
            )
        assert refused.value.code == code
        assert await repository.tip() == before

    async def test_a_folder_takes_the_place_of_a_file(self, repository):
        await put(repository, "a")
        await repository.commit([Change("a", None), Change("a/b", b"1")], message="m", author="anna")
        assert await paths_of(repository) == ["a/b"]

    async def test_no_more_files_than_there_may_be(self, repository):
        many = [Change(f"{number}", b"") for number in range(20_001)]
        with pytest.raises(InvalidRequest) as refused:
            await repository.commit(many, message="m", author="anna")
        assert refused.value.code == "too_many_files"


class TestMerging:
    LINES = "".join(f"line {number}\n" for number in range(20))

    async def test_what_others_changed_meanwhile_is_kept(self, repository):
        # Given a run that saw the first commit, and somebody who changed another line and file since
        base = await put(repository, text=self.LINES)
        await put(repository, text=self.LINES.replace("line 1\n", "theirs\n"))
        await put(repository, "b.txt")

        # When the run's change arrives
        mine = self.LINES.replace("line 18\n", "mine\n")
        made = await put(repository, text=mine, base=base, cause=Cause("run-1"))

        # Then both are there, and it is one commit behind the others
        assert await text_of(repository) == mine.replace("line 1\n", "theirs\n")
        assert await paths_of(repository) == ["a.txt", "b.txt"]
        history = (await repository.log()).commits
        assert [len(c.parents) for c in history] == [1, 1, 1, 0]
        assert (history[0].id, history[0].run) == (made, "run-1")

    @pytest.mark.parametrize(
        ("theirs", "mine"),
        [
            (Change("a.txt", b"theirs\n"), Change("a.txt", b"mine\n")),
            (Change("a.txt", None), Change("a.txt", b"mine\n")),
            (Change("a.txt", b"theirs\n"), Change("a.txt", None)),
            (Change("n.txt", b"theirs\n"), Change("n.txt", b"mine\n")),
        ],
    )
    async def test_a_conflict_is_told_and_nothing_is_overwritten(self, repository, theirs, mine):
        base = await put(repository, text=self.LINES)
        after = (await repository.commit([theirs], message="theirs", author="b")).commit
        with pytest.raises(MergeConflict) as conflict:
            await repository.commit([mine, Change("c", b"")], message="mine", author="anna", base=base)
        assert conflict.value.paths == [mine.path]
        assert mine.path in conflict.value.message
        assert await repository.tip() == after

    async def test_both_made_the_same_change(self, repository):
        base = await put(repository)
        after = await put(repository, text="two\n")
        assert await put(repository, text="two\n", base=base) == after

    async def test_a_base_that_nobody_knows_is_refused(self, repository):
        await put(repository)
        for base in ("1" * 40, "HEAD", "--all"):
            with pytest.raises(Conflict) as refused:
                await put(repository, text="x", base=base)
            assert refused.value.code == "unknown_base"

    async def test_a_change_to_an_empty_repository_meets_another(self, repository):
        await put(repository, "b.txt")
        await put(repository, "a.txt", base=NO_COMMIT)
        assert await paths_of(repository) == ["a.txt", "b.txt"]


class TestReverting:
    async def test_what_a_run_changed_is_undone(self, repository):
        # Given a run's change, and others behind it
        await put(repository, text="one\n")
        await repository.commit(
            [Change("a.txt", None), Change("r.txt", b"r")], message="m", author="run", cause=Cause("run-1")
        )
        await put(repository, "b.txt")

        # When it is reverted, twice
        undone = await repository.revert("run-1", author="anna")
        again = await repository.revert("run-1", author="anna")

        # Then its change is undone once, and theirs are kept
        assert undone.created
        assert (again.commit, again.created) == (undone.commit, False)
        assert await paths_of(repository) == ["a.txt", "b.txt"]
        [latest, *_] = (await repository.log()).commits
        assert (latest.reverts, latest.run, latest.author) == ("run-1", None, "anna")

    async def test_the_first_commit_can_be_undone(self, repository):
        await put(repository, cause=Cause("run-1"))
        await repository.revert("run-1", author="anna")
        assert await paths_of(repository) == []

    async def test_what_others_built_on_is_not_torn_down(self, repository):
        await put(repository, cause=Cause("run-1"))
        after = await put(repository, text="two\n")
        with pytest.raises(MergeConflict) as conflict:
            await repository.revert("run-1", author="anna")
        assert conflict.value.paths == ["a.txt"]
        assert await repository.tip() == after

    async def test_a_run_that_changed_nothing(self, repository):
        await put(repository, message="about run-1")
        with pytest.raises(NotFound) as refused:
            await repository.revert("run-1", author="anna")
        assert refused.value.code == "nothing_to_revert"
