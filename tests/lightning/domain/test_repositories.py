"""A user's repositories: names, addresses, credentials, and deletion that a crash does not stop."""

import asyncio

import pytest

from lightning.domain.git_url import read_git_url
from lightning.domain.repositories import MAX_REPOSITORIES, Credentials, Repositories
from lightning.errors import Conflict, InvalidEvent, NotFound, Transient
from lightning.outbound import Guard
from lightning.repositories import RepositoryStore
from lightning.sealing import NoKey, Sealer, Unreadable
from tests.contract.repository_kits import put

KEY = "a-key-of-more-than-thirty-two-bytes"
PASSWORD = "canary-of-a-git-token"
URL = "https://git.example.com/team/notes.git"


@pytest.fixture
async def storage(open_store):
    store = open_store()
    yield store
    await store.close()


@pytest.fixture
def opened(storage, tmp_path):
    """Give what opens the repositories as another process does, perhaps with other keys."""

    def open_with(key=KEY, previous=None, over=storage):
        store = RepositoryStore(over, tmp_path / "copies")
        return Repositories(over, store, Sealer(key, previous), Guard())

    return open_with


@pytest.fixture
def repositories(opened):
    return opened()


async def everything(storage, user="anna"):
    return [stored.body for stored in (await storage.query("repos", user, limit=1000)).items]


class TestRepositories:
    async def test_from_creation_to_end(self, repositories, storage):
        # Given a repository with something in it
        made = await repositories.create("anna", "notes")
        assert await repositories.of("anna") == [made]
        assert await repositories.find("anna", "notes") == await repositories.find("anna", made.id) == made
        await put(repositories.open("anna", made))

        # When it is deleted
        await repositories.delete("anna", "notes")

        # Then nothing of it is left, and its name is free
        assert await repositories.of("anna") == []
        assert [body["id"] for body in await everything(storage)] == ["repositories"]
        with pytest.raises(NotFound):
            await repositories.delete("anna", made.id)
        await repositories.create("anna", "notes")

    async def test_each_user_has_their_own(self, repositories):
        hers = await repositories.create("anna", "notes")
        his = await repositories.create("berta", "notes")
        assert hers.id != his.id
        for attempt in (repositories.find("berta", hers.id), repositories.delete("berta", hers.id)):
            with pytest.raises(NotFound):
                await attempt
        with pytest.raises(NotFound):
            await put(repositories.open("berta", hers))

    async def test_of_two_of_one_name_one_is_made(self, opened):
        attempts = [opened().create("anna", "notes") for _ in range(4)]
        made = await asyncio.gather(*attempts, return_exceptions=True)
        refused = [each for each in made if isinstance(each, Conflict)]
        assert len(refused) == 3
        assert {each.code for each in refused} == {"name_taken"}
        assert len(await opened().of("anna")) == 1

    async def test_there_are_not_too_many(self, repositories):
        for number in range(MAX_REPOSITORIES):
            await repositories.create("anna", f"n{number}")
        with pytest.raises(Conflict) as refused:
            await repositories.create("anna", "one-more")
        assert refused.value.code == "too_many_repositories"
        assert len(await repositories.of("anna")) == MAX_REPOSITORIES

    async def test_a_deletion_that_a_crash_stopped_is_finished(self, opened, storage):
        # Given a process that dies between the parts of a deletion
        made = await opened().create("anna", "notes")
        await put(opened().open("anna", made))
        with pytest.raises(Transient):
            await opened(over=Dying(storage)).delete("anna", "notes")

        # Then the repository is gone for everybody
        assert await opened().of("anna") == []
        with pytest.raises(NotFound):
            await opened().find("anna", made.id)

        # And what is left of it goes when the next one comes
        await opened().create("anna", "notes")
        kinds = [body["kind"] for body in await everything(storage)]
        assert sorted(kinds) == ["repository", "repository.head", "repository.names"]


class Dying:
    """A store that takes one more batch and no other."""

    def __init__(self, storage):
        self._storage = storage

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def batch(self, *_):
        raise Transient("gone")


class TestCredentials:
    async def test_they_are_encrypted_at_rest(self, repositories, opened, storage):
        given = Credentials("x", PASSWORD)
        known = await repositories.create("anna", "notes", url=URL, credentials=given)
        assert PASSWORD not in str(await everything(storage))
        assert PASSWORD not in repr(known) + repr(given)
        again = opened()
        assert again.credentials_of("anna", await again.find("anna", "notes")) == given

    async def test_they_open_in_their_place_only(self, repositories):
        made = [
            await repositories.create(user, name, url=URL, credentials=Credentials("x", PASSWORD))
            for user, name in [("anna", "a"), ("anna", "b")]
        ]
        assert made[0].sealed != made[1].sealed
        for user, known in [
            ("berta", made[0]),
            ("anna", type(made[1])(made[1].id, "b", URL, made[0].sealed)),
        ]:
            with pytest.raises(Unreadable):
                repositories.credentials_of(user, known)

    async def test_keys_are_rotated(self, repositories, opened):
        known = await repositories.create("anna", "notes", url=URL, credentials=Credentials("x", PASSWORD))
        new = KEY[::-1]
        assert opened(new, KEY).credentials_of("anna", known).password == PASSWORD
        with pytest.raises(Unreadable):
            opened(new).credentials_of("anna", known)

    async def test_without_a_key_none_are_taken(self, opened):
        with pytest.raises(NoKey):
            await opened(None).create("anna", "notes", url=URL, credentials=Credentials("x", PASSWORD))
        assert await opened().of("anna") == []
        await opened(None).create("anna", "notes", url=URL)


@pytest.mark.parametrize(
    "url",
    [
        "http://git.example.com/x.git",
        "ssh://git@example.com/x.git",
        "git@example.com:x.git",
        "file:///etc/passwd",
        "/etc/passwd",
        "ext::sh -c id",
        "https://user:password@git.example.com/x.git",
        "https://user@git.example.com/x.git",
        "-uhttps://git.example.com/x.git",
        "--upload-pack=id",
        "https://-oProxyCommand=id/x.git",
        "https://git.example.com/a::b",
        "https://git.example.com/x.git?service=x",
        "https://git.example.com/x.git#main",
        "https://git.example.com/x%0aHost:%20y",
        "https://git.example.com/x\ny",
        "https://git.example.com:22/x.git",
        "https://127.0.0.1/x.git",
        "https://[::1]/x.git",
        "https://169.254.169.254/x.git",
        "https://10.0.0.1/x.git",
        "https://2130706433/x.git",
        "https://0x7f.1/x.git",
        "https://git.example.com" + "/x" * 1100,
    ],
)
async def test_where_git_must_not_go_is_refused(repositories, url):
    with pytest.raises(InvalidEvent) as refused:
        await repositories.create("anna", "notes", url=url)
    assert refused.value.code in {"invalid_url", "address_refused"}
    assert refused.value.pointer == "/url"
    assert await repositories.of("anna") == []


def test_an_operator_may_exempt_a_server():
    guard = Guard.allowing("127.0.0.1,git.internal")
    assert read_git_url("http://127.0.0.1:8080/x.git", guard).port == 8080
    assert read_git_url("https://git.internal/x.git", guard).host == "git.internal"
