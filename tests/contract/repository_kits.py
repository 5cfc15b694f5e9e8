"""What the tests of repositories share: workers, a person's git, and a store whose answers are lost."""

import io
import subprocess
import tarfile
from dataclasses import dataclass

from lightning.errors import Transient
from lightning.repositories import Cause, Change, Repository, RepositoryStore
from lightning.storage import Storage


@dataclass
class Worker:
    """A process that works on a repository: its own connection to the store, its own copy."""

    storage: Storage
    store: RepositoryStore
    repository: Repository
    name: str


async def put(repository, path="a.txt", text="one\n", **more):
    given = {"message": f"write {path}", "author": "anna", **more}
    return (await repository.commit([Change(path, text.encode())], **given)).commit


async def text_of(repository, path="a.txt", **more):
    return (await repository.read(path, **more)).data.decode()


async def paths_of(repository, **more):
    return [entry.path for entry in (await repository.files(**more)).entries]


def tar_of(files, executable=()):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            data = text if isinstance(text, bytes) else text.encode()
            info.size, info.mode = len(data), 0o755 if path in executable else 0o644
            tar.addfile(info, io.BytesIO(data))
    return target


async def goes_on():
    """Let every run go on."""


async def exchange(repository, files, base, *, run="run-1", executable=(), **more):
    """Send files back as a run does."""
    given = {"message": "work", "author": "echo", "goes_on": goes_on, **more}
    cause = Cause(run, "event-1")
    return await repository.exchange(tar_of(files, executable), base=base, cause=cause, **given)


def git(*arguments, cwd, **more):
    """Run git as a person does."""
    config = ["-c", "user.name=anna", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    command = ["git", *config, *arguments]
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, timeout=100, **more
    ).stdout


async def parts(storage):
    found = await storage.query("repos", "anna", limit=1000)
    return [stored.body["id"] for stored in found.items if stored.body["kind"] == "repository.part"]


class Cut:
    """A store whose answer to the writing of a head is lost.

    Parameters:
      before: The write does not arrive either.
      reads: Whether it answers afterwards.
      meanwhile: What others do before the write, of which nothing is lost then.
    """

    def __init__(self, storage, *, before=False, reads=False, meanwhile=None):
        self._storage = storage
        self._before = before
        self._reads = reads
        self._meanwhile = meanwhile
        self._is_cut = False

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def get(self, container, partition, id):
        if self._is_cut and not self._reads:
            raise Transient("cut")
        return await self._storage.get(container, partition, id)

    async def batch(self, container, partition, operations):
        if self._is_cut or operations[0].body["kind"] != "repository.head":
            return await self._storage.batch(container, partition, operations)
        if self._meanwhile is not None:
            await self._meanwhile()
            return await self._storage.batch(container, partition, operations)
        self._is_cut = True
        if not self._before:
            await self._storage.batch(container, partition, operations)
        raise Transient("cut")
