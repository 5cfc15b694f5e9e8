"""Histories leave and come as git bundles, and nothing comes in that could do harm."""

import io

import pytest

from lightning.errors import Conflict, InvalidRequest, NotFound
from lightning.repositories import NO_COMMIT
from tests.contract.repository_kits import git, put, text_of


@pytest.fixture
def bundle_of(tmp_path):
    """Give what bundles a history of trees, whose messages are given; it tells its commits, too."""
    git("init", "-q", "--bare", "made", cwd=tmp_path)
    made = tmp_path / "made"
    blob = git("hash-object", "-w", "--stdin", cwd=made, input="x").strip()

    def tree(names, entry):
        return git("mktree", cwd=made, input="".join(f"{entry}\t{name}\n" for name in names)).strip()

    def bundle(*history):
        commits = []
        for names, depth, message in history:
            top = tree(names, f"100644 blob {blob}")
            for _ in range(depth):
                top = tree(names, f"040000 tree {top}")
            parents = [argument for each in commits[-1:] for argument in ("-p", each)]
            made_now = git("commit-tree", top, *parents, "-F", "-", cwd=made, input=message)
            commits.append(made_now.strip())
        git("update-ref", "refs/heads/main", commits[-1], cwd=made)
        git("bundle", "create", "x.bundle", "main", cwd=made)
        return (made / "x.bundle").read_bytes(), commits

    return bundle


class TestBundles:
    async def test_a_clone_has_everything(self, repository, tmp_path):
        await put(repository)
        await put(repository, "b.txt", "two\n")
        (tmp_path / "x.bundle").write_bytes(await repository.bundle())
        git("clone", "-q", "x.bundle", "clone", cwd=tmp_path)
        assert (tmp_path / "clone/b.txt").read_text() == "two\n"
        assert git("rev-parse", "main", cwd=tmp_path / "clone").strip() == await repository.tip()
        git("fsck", "--strict", cwd=tmp_path / "clone")

    async def test_a_clone_comes_back(self, repository, tmp_path):
        # Given a clone in which somebody worked
        await put(repository)
        (tmp_path / "x.bundle").write_bytes(await repository.bundle())
        git("clone", "-q", "x.bundle", "clone", cwd=tmp_path)
        clone = tmp_path / "clone"
        (clone / "a.txt").write_text("changed\n")
        git("commit", "-qam", "at home", cwd=clone)
        git("bundle", "create", "y.bundle", "main", "^origin/main", cwd=clone)

        # When what is new is sent, twice
        data = (clone / "y.bundle").read_bytes()
        taken = await repository.load(data)
        again = await repository.load(data)

        # Then it is here, once
        assert (taken.created, again.created) == (True, False)
        assert await text_of(repository) == "changed\n"
        assert taken.commit == git("rev-parse", "main", cwd=clone).strip()

    async def test_a_history_that_went_another_way_is_refused(self, repository, tmp_path):
        await put(repository)
        (tmp_path / "x.bundle").write_bytes(await repository.bundle())
        git("clone", "-q", "x.bundle", "clone", cwd=tmp_path)
        clone = tmp_path / "clone"
        git("commit", "-q", "--allow-empty", "-m", "mine", cwd=clone)
        git("bundle", "create", "y.bundle", "main", cwd=clone)
        theirs = await put(repository, text="theirs\n")
        with pytest.raises(Conflict) as refused:
            await repository.load((clone / "y.bundle").read_bytes())
        assert refused.value.code == "not_a_continuation"
        assert await repository.tip() == theirs

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"",
            lambda data: b"# v3 git bundle\n" + data[16:],
            lambda data: data[:-40],
            lambda data: data[:-30] + bytes(30),
            lambda data: data.replace(b" refs/heads/main", b" refs/tags/main1").replace(b" HEAD", b" refs/x"),
            lambda data: data.replace(b"# v2 git bundle\n", b"# v2 git bundle\n-" + b"1" * 40 + b" \n"),
        ],
        ids=["empty", "version", "cut", "broken", "refs", "needs"],
    )
    async def test_what_is_no_whole_bundle_is_refused(self, store, repository, spoil, tmp_path):
        await put(repository)
        spoilt = spoil(await repository.bundle())
        other = await store.create("anna", "other")
        with pytest.raises(InvalidRequest) as refused:
            await other.load(spoilt)
        assert refused.value.code == "invalid_bundle"
        assert str(tmp_path) not in refused.value.message
        assert await other.tip() == NO_COMMIT

    async def test_links_and_submodules_are_told_and_never_followed(self, repository, tmp_path):
        # Given a repository with links out of it and a submodule
        work = tmp_path / "work"
        git("init", "-q", "-b", "main", "work", cwd=tmp_path)
        (work / "passwd").symlink_to("/etc/passwd")
        (work / "up").symlink_to("..")
        (work / "f").write_text("f")
        git("add", ".", cwd=work)
        git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub", cwd=work)
        git("commit", "-qm", "links", cwd=work)
        git("bundle", "create", "x.bundle", "main", cwd=work)

        # When it is taken over
        await repository.load((work / "x.bundle").read_bytes())

        # Then they are told as what they are, and what they lead to is not shown
        kinds = {entry.path: entry.kind for entry in (await repository.files()).entries}
        assert kinds == {"f": "file", "passwd": "symlink", "sub": "submodule", "up": "symlink"}
        assert (await repository.read("passwd")).data == b"/etc/passwd"
        assert (await repository.read("sub")).data == b""
        with pytest.raises(NotFound):
            await repository.read("up/x")
        with pytest.raises(Conflict):
            await put(repository, "up/x")
        assert (await repository.search("root")).matches == []
        archive = await repository.archive(io.BytesIO())
        assert archive.left_out == ["passwd", "sub", "up"]

    @pytest.mark.parametrize("name", [".git", ".GIT", "git~1", "a\\b", "a\tb"])
    async def test_a_tree_that_leads_elsewhere_is_refused(self, repository, tmp_path, name):
        # Given a commit that git itself would not make
        git("init", "-q", "--bare", "evil", cwd=tmp_path)
        evil = tmp_path / "evil"
        blob = git("hash-object", "-w", "--stdin", cwd=evil, input="x").strip()
        quoted = name.replace("\t", "\\t")
        entry = f'100644 blob {blob}\t"{quoted}"\n' if "\t" in name else f"100644 blob {blob}\t{name}\n"
        tree = git("mktree", cwd=evil, input=entry).strip()
        commit = git("commit-tree", tree, "-m", "evil", cwd=evil).strip()
        git("update-ref", "refs/heads/main", commit, cwd=evil)
        git("bundle", "create", "x.bundle", "main", cwd=evil)

        # When it is sent
        with pytest.raises(InvalidRequest) as refused:
            await repository.load((evil / "x.bundle").read_bytes())

        # Then nothing of it is here
        assert refused.value.code in {"invalid_bundle", "invalid_path"}
        assert await repository.tip() == NO_COMMIT

    async def test_no_commit_of_a_history_leads_elsewhere(self, repository, tmp_path):
        # Given a harmless commit behind one that git itself would not make
        git("init", "-q", "--bare", "evil", cwd=tmp_path)
        evil = tmp_path / "evil"
        blob = git("hash-object", "-w", "--stdin", cwd=evil, input="x").strip()
        tree = git("mktree", cwd=evil, input=f"100644 blob {blob}\t.git\n").strip()
        first = git("commit-tree", tree, "-m", "evil", cwd=evil).strip()
        tree = git("mktree", cwd=evil, input=f"100644 blob {blob}\tfine\n").strip()
        second = git("commit-tree", tree, "-p", first, "-m", "x", cwd=evil).strip()
        git("update-ref", "refs/heads/main", second, cwd=evil)
        git("bundle", "create", "x.bundle", "main", cwd=evil)

        # When it is sent, then it is refused, and the message says why
        with pytest.raises(InvalidRequest) as refused:
            await repository.load((evil / "x.bundle").read_bytes())
        assert "hasDotgit" in refused.value.message
        assert await repository.tip() == NO_COMMIT

    @pytest.mark.parametrize("where", ["message", "author", "trailer"])
    async def test_a_history_is_told_however_much_its_commits_say(self, repository, tmp_path, where):
        # Given a commit that says more than git is let print, between others, one of them a run's
        much = "a" * 9_000_000
        git("init", "-q", "--bare", "made", cwd=tmp_path)
        made = tmp_path / "made"
        blob = git("hash-object", "-w", "--stdin", cwd=made, input="x").strip()
        tree = git("mktree", cwd=made, input=f"100644 blob {blob}\ta\n").strip()
        author = much if where == "author" else "anna"
        text = {
            "message": f"m\n\nLightning-Run: run-1\n{much}\n\nend",
            "trailer": f"m\n\nLightning-Run: run-1{much}",
            "author": "m\n\nLightning-Run: run-1",
        }[where]
        at = "<a@example.org> 1700000000 +0000"
        first = git("commit-tree", tree, "-F", "-", cwd=made, input="m\n\nLightning-Run: run-1\n").strip()
        raw = f"tree {tree}\nparent {first}\nauthor {author} {at}\ncommitter b {at}\n\n{text}\n"
        long = git("hash-object", "-t", "commit", "-w", "--stdin", cwd=made, input=raw).strip()
        tip = git("commit-tree", tree, "-p", long, "-m", "last", cwd=made).strip()
        git("update-ref", "refs/heads/main", tip, cwd=made)
        git("bundle", "create", "x.bundle", "main", cwd=made)
        await repository.load((made / "x.bundle").read_bytes())

        # When the history is told page by page
        told, skip = [], 0
        while skip is not None:
            page = await repository.log(skip=skip)
            told += page.commits
            skip = page.next

        # Then each commit comes once, and what is too long ends with an ellipsis
        assert [each.id for each in told] == [tip, long, first]
        assert [len(each.message) < 20_000 and len(each.author) < 20_000 for each in told] == [True] * 3
        assert (told[0].message, told[2].run) == ("last", "run-1")
        said = {"message": told[1].message, "author": told[1].author, "trailer": told[1].run}[where]
        assert said.endswith("…")
        # And what a run has committed is found
        assert await repository.settle("run-1", base="1" * 40) == first


#: Names of a folder that, in folders of folders, makes 27,000 files of a few objects.
MANY = [f"f{number:02}" for number in range(30)]


class TestBombs:
    async def test_a_commit_of_too_many_files_is_not_compared(self, repository, bundle_of):
        # Given a history in whose middle there are more files than there may be
        data, [small, bomb, tip] = bundle_of((["a"], 0, "small"), (MANY, 2, "bomb"), (["b"], 0, "small"))
        await repository.load(data)
        # When it is compared with the one before, or another with it, then that is refused
        for chosen in ({"at": bomb}, {"at": tip}, {"at": small, "base": bomb}):
            with pytest.raises(InvalidRequest) as refused:
                await repository.diff(**chosen)
            assert refused.value.code == "too_many_files"
        # And the others are compared still
        assert (await repository.diff(at=tip, base=small)).files

    @pytest.mark.parametrize("by", [1, 2])
    async def test_what_has_too_many_files_is_not_undone(self, repository, bundle_of, by):
        # Given a commit of a run that makes too many files, or takes them away
        trees = [(["a"], 0), (MANY, 2), (["b"], 0)]
        text = "work\n\nLightning-Run: run-1\n"
        data, [*_, tip] = bundle_of(
            *((*tree, text if number == by else "m") for number, tree in enumerate(trees))
        )
        await repository.load(data)
        # When it is to be undone, then that is refused, and nothing is changed
        with pytest.raises(InvalidRequest) as refused:
            await repository.revert("run-1", author="anna")
        assert refused.value.code == "too_many_files"
        assert await repository.tip() == tip
