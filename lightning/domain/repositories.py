"""A user's repositories: which there are, where others of them live, and the credentials for that.

One document of a user's holds the names, so that no two have the same and there are not too many; each
repository has one of its own. What is in a repository stands beside it (`lightning.repositories`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lightning.domain.git_url import read_git_url
from lightning.errors import Conflict, NotFound
from lightning.events import now_text
from lightning.ids import new_id
from lightning.keys import secret
from lightning.outbound import Guard, Resolve, SystemResolver
from lightning.repositories import Place, Remote, Repository, RepositoryStore
from lightning.repositories.scratch import clear
from lightning.sealing import Sealer
from lightning.settings import Settings
from lightning.storage import Create, Delete, Operation, Replace, Storage, Stored, Where

MAX_REPOSITORIES: Final = 100

CONTAINER: Final = "repos"
_NAMES_ID: Final = "repositories"
_PREFIX: Final = "repo-"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a git server asks for.

    Parameters:
      username: The name; many servers take any.
      password: The password, or a token.
    """

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """One repository of a user's.

    Parameters:
      id: Its id.
      name: What its owner calls it.
      url: Where it lives, if not here.
      sealed: The credentials for it, encrypted.
      deleted: It is being removed.
      created_at: RFC 3339.
    """

    id: str
    name: str
    url: str | None = None
    sealed: str | None = field(default=None, repr=False)
    deleted: bool = False
    created_at: str = field(default_factory=now_text)


class Repositories:
    """The repositories of all users.

    Parameters:
      storage: Where they stand.
      store: Opens them.
      sealer: Encrypts their credentials.
      guard: Says where others may live.
      resolve: Gives the addresses of a name.
    """

    def __init__(
        self,
        storage: Storage,
        store: RepositoryStore,
        sealer: Sealer,
        guard: Guard,
        *,
        resolve: Resolve | None = None,
    ) -> None:
        self._storage = storage
        self._store = store
        self._sealer = sealer
        self._guard = guard
        self._resolve = resolve or SystemResolver()

    async def of(self, user_id: str) -> list[Known]:
        """List a user's repositories, in the order of their creation."""
        return [known for known in await self._all(user_id) if not known.deleted]

    async def find(self, user_id: str, repository: str) -> Known:
        """Find a repository by its id or name.

        Raises:
          NotFound: The user has none.
        """
        known = await self._read(user_id, repository)
        if known is None:
            names = await self._storage.get(CONTAINER, user_id, _NAMES_ID)
            ids: dict[str, str] = {} if names is None else names.body["names"]
            known = await self._read(user_id, ids[repository]) if repository in ids else None
        if known is None or known.deleted:
            raise _not_found()
        return known

    def open_to_read(self, user_id: str, known: Known) -> Repository:
        """Open a repository to read it: of one that lives elsewhere, what was fetched last."""
        return self._store.open(user_id, known.id)

    def open(self, user_id: str, known: Known) -> Repository:
        """Open a repository to change it, or to fetch what is new where it lives.

        Raises:
          InvalidEvent: It lives where we do not go any more.
          Unreadable: Its credentials were encrypted with a key that is not here any more.
        """
        if known.url is None:
            return self._store.open(user_id, known.id)
        given = self.credentials_of(user_id, known)
        login = None if given is None else (given.username, given.password)
        place = Place(known.url, read_git_url(known.url, self._guard), login)
        return self._store.open(user_id, known.id, Remote(place, self._guard, self._resolve))

    async def create(
        self, user_id: str, name: str, *, url: str | None = None, credentials: Credentials | None = None
    ) -> Known:
        """Make a repository, or register one that lives elsewhere.

        Raises:
          InvalidEvent: The URL is not one that we go to (``invalid_url``, ``address_refused``).
          Conflict: The name is taken (``name_taken``), or there are too many (``too_many_repositories``).
          NoKey: There are credentials, and no key to encrypt them with.
        """
        if url is not None:
            read_git_url(url, self._guard)
        await self._finish_deletions(user_id)
        made = Known(new_id(), name, url)
        if credentials is not None:
            secret = json.dumps([credentials.username, credentials.password])
            made = replace(made, sealed=self._sealer.seal(secret, _place(user_id, made.id)))

        def add(names: dict[str, str]) -> dict[str, str]:
            if name in names:
                raise Conflict(f"you have a repository {name!r}; choose another name", code="name_taken")
            if len(names) >= MAX_REPOSITORIES:
                message = f"you have {MAX_REPOSITORIES} repositories; delete one first"
                raise Conflict(message, code="too_many_repositories")
            return {**names, name: made.id}

        await self._change(
            user_id, add, [Create(_body(user_id, made)), self._store.creation(user_id, made.id)]
        )
        return made

    def credentials_of(self, user_id: str, known: Known) -> Credentials | None:
        """Give the credentials of a repository in clear, for whoever is about to use them.

        Raises:
          Unreadable: They were encrypted with a key that is not here any more.
        """
        if known.sealed is None:
            return None
        username, password = json.loads(self._sealer.open(known.sealed, _place(user_id, known.id)))
        return Credentials(username, password)

    async def delete(self, user_id: str, repository: str) -> None:
        """Remove a repository with all that is in it. What a crash leaves is removed by the next deletion.

        Raises:
          NotFound: The user has no such repository.
        """
        known = await self.find(user_id, repository)
        stored = await self._storage.get(CONTAINER, user_id, _document_id(known.id))
        if stored is None:
            raise _not_found()
        gone = _body(user_id, replace(known, sealed=None, deleted=True))

        def remove(names: dict[str, str]) -> dict[str, str]:
            return {name: id_ for name, id_ in names.items() if id_ != known.id}

        await self._change(user_id, remove, [Replace(gone, stored.etag)])
        await self._finish_deletions(user_id)

    async def _finish_deletions(self, user_id: str) -> None:
        for known in await self._all(user_id):
            if known.deleted:
                await self._store.delete(user_id, known.id)
                stored = await self._storage.get(CONTAINER, user_id, _document_id(known.id))
                if stored is not None:
                    await self._forget(user_id, stored)

    async def _forget(self, user_id: str, stored: Stored) -> None:
        try:
            await self._storage.batch(CONTAINER, user_id, [Delete(stored.body["id"])])
        except Conflict:  # somebody else was faster
            return

    async def _read(self, user_id: str, id: str) -> Known | None:
        stored = await self._storage.get(CONTAINER, user_id, _document_id(id))
        return None if stored is None else _known(stored)

    async def _all(self, user_id: str) -> list[Known]:
        # the character behind the hyphen in ASCII ends the range of ids that begin so
        where = [Where("id", ">=", _PREFIX), Where("id", "<", f"{_PREFIX[:-1]}.")]
        found: list[Known] = []
        page: str | None = None
        while True:
            answer = await self._storage.query(CONTAINER, user_id, where, page=page)
            found += [_known(stored) for stored in answer.items]
            page = answer.next
            if page is None:
                return found

    async def _change(
        self, user_id: str, change: Callable[[dict[str, str]], dict[str, str]], writes: list[Operation]
    ) -> None:
        def build(stored: Stored | None) -> list[Operation]:
            names = change({} if stored is None else stored.body["names"])
            body = {"id": _NAMES_ID, "userID": user_id, "kind": "repository.names", "names": names}
            return [Create(body) if stored is None else Replace(body, stored.etag), *writes]

        await self._storage.batch_on(CONTAINER, user_id, _NAMES_ID, build)


def open_repositories(settings: Settings, storage: Storage) -> Repositories:
    """Open the repositories of an installation; their copies on this machine are in its data directory.

    What killed processes left of their work on repositories is removed.
    """
    sealer = Sealer(secret(settings.secret_key), secret(settings.secret_key_previous))
    clear()
    store = RepositoryStore(storage, settings.data / "repos")
    return Repositories(storage, store, sealer, Guard.allowing(settings.git_allow))


def _not_found() -> NotFound:
    return NotFound("there is no such repository, or it is not yours")


def _document_id(repository: str) -> str:
    return f"{_PREFIX}{repository}"


def _place(user_id: str, repository: str) -> str:
    return f"repository {user_id} {repository}"


def _known(stored: Stored) -> Known:
    body = stored.body
    return Known(
        body["id"].removeprefix(_PREFIX),
        body["name"],
        body["url"],
        body["credentials"],
        body["deleted"],
        body["createdAt"],
    )


def _body(user_id: str, known: Known) -> dict[str, Any]:
    return {
        "id": _document_id(known.id),
        "userID": user_id,
        "kind": "repository",
        "name": known.name,
        "url": known.url,
        "credentials": known.sealed,
        "deleted": known.deleted,
        "createdAt": known.created_at,
    }
