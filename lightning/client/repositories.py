"""The calls about repositories, which both clients have."""

from typing import Any

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import (
    CommitMade,
    CommitPage,
    Difference,
    FilePage,
    FoundLines,
    RepositoryShown,
)


class RepositoryCalls(Caller):
    """What a client can do with repositories, each named by its id or name."""

    def repositories(self) -> list[RepositoryShown]:
        """List the repositories."""
        return self._call(requests.repositories())["repositories"]

    def create_repository(self, name: str, **fields: Any) -> RepositoryShown:
        """Make a repository; with ``url``, and perhaps ``credentials``, register one that lives elsewhere."""
        return self._call(requests.create_repository({"name": name, **fields}))

    def repository(self, name: str) -> RepositoryShown:
        """Read a repository, by its id or name, with its newest ``commit``."""
        return self._call(requests.repository(name))

    def delete_repository(self, name: str) -> None:
        """Delete a repository with all that is in it."""
        self._call(requests.delete_repository(name))

    def fetch_repository(self, name: str) -> RepositoryShown:
        """Have what is new fetched where a repository lives, and read it."""
        return self._call(requests.fetch_repository(name))

    def repository_files(self, name: str, **parameters: str | int) -> FilePage:
        """List files: ``at``, ``prefix``, ``after``, ``limit``."""
        return self._call(requests.repository_view(name, "files", parameters))

    def read_file(self, name: str, path: str, **parameters: str) -> bytes:
        """Read a file: ``at``."""
        return self._call(requests.repository_bytes(name, "file", {"path": path, **parameters}))

    def write_file(self, name: str, path: str, content: bytes, **parameters: str) -> CommitMade:
        """Write a file, as a commit: ``message``, and ``base``, the commit that was seen."""
        query = {"path": path, **parameters}
        return self._call(requests.send_bytes(name, "file", content, query))

    def remove_file(self, name: str, path: str, **parameters: str) -> CommitMade:
        """Remove a file, as a commit: ``message``, ``base``."""
        return self._call(requests.remove_file(name, {"path": path, **parameters}))

    def commit_files(self, name: str, **fields: Any) -> CommitMade:
        """Write and remove several files as one commit: ``message``, ``base``, ``files``."""
        return self._call(requests.change_repository(name, "commits", fields))

    def revert_run(self, name: str, run_id: str) -> CommitMade:
        """Undo what a run committed."""
        return self._call(requests.change_repository(name, "revert", {"runID": run_id}))

    def undo_run(self, run_id: str) -> CommitMade:
        """Undo what a run has committed to the repository of its task, once.

        Raises:
          ClientError: It has committed nothing (code ``nothing_to_revert``), or others have changed the same
            since (``merge_conflict``).
        """
        return self._call(requests.undo_run(run_id))

    def search_repository(self, name: str, text: str, **parameters: str | int) -> FoundLines:
        """Look for lines: ``regex``, ``ignoreCase``, ``at``."""
        return self._call(requests.repository_view(name, "search", {"q": text, **parameters}))

    def repository_log(self, name: str, **parameters: str | int) -> CommitPage:
        """Read the history: ``at``, ``path``, ``skip``, ``limit``."""
        return self._call(requests.repository_view(name, "log", parameters))

    def repository_diff(self, name: str, **parameters: str) -> Difference:
        """Read what two commits differ in: ``at``, ``base``."""
        return self._call(requests.repository_view(name, "diff", parameters))

    def read_bundle(self, name: str) -> bytes:
        """Read the whole history as a git bundle."""
        return self._call(requests.repository_bytes(name, "bundle", {}))

    def send_bundle(self, name: str, bundle: bytes) -> CommitMade:
        """Have the history of a git bundle taken over."""
        return self._call(requests.send_bytes(name, "bundle", bundle, {}))


class AsyncRepositoryCalls(AsyncCaller):
    """What a client for asyncio can do with repositories; see `RepositoryCalls`."""

    async def repositories(self) -> list[RepositoryShown]:
        """List the repositories."""
        return (await self.call(requests.repositories()))["repositories"]

    async def create_repository(self, name: str, **fields: Any) -> RepositoryShown:
        """Make a repository; with ``url``, and perhaps ``credentials``, register one that lives elsewhere."""
        return await self.call(requests.create_repository({"name": name, **fields}))

    async def repository(self, name: str) -> RepositoryShown:
        """Read a repository, by its id or name, with its newest ``commit``."""
        return await self.call(requests.repository(name))

    async def delete_repository(self, name: str) -> None:
        """Delete a repository with all that is in it."""
        await self.call(requests.delete_repository(name))

    async def fetch_repository(self, name: str) -> RepositoryShown:
        """Have what is new fetched where a repository lives, and read it."""
        return await self.call(requests.fetch_repository(name))

    async def repository_files(self, name: str, **parameters: str | int) -> FilePage:
        """List files: ``at``, ``prefix``, ``after``, ``limit``."""
        return await self.call(requests.repository_view(name, "files", parameters))

    async def read_file(self, name: str, path: str, **parameters: str) -> bytes:
        """Read a file: ``at``."""
        return await self.call(requests.repository_bytes(name, "file", {"path": path, **parameters}))

    async def write_file(self, name: str, path: str, content: bytes, **parameters: str) -> CommitMade:
        """Write a file, as a commit: ``message``, and ``base``, the commit that was seen."""
        query = {"path": path, **parameters}
        return await self.call(requests.send_bytes(name, "file", content, query))

    async def remove_file(self, name: str, path: str, **parameters: str) -> CommitMade:
        """Remove a file, as a commit: ``message``, ``base``."""
        return await self.call(requests.remove_file(name, {"path": path, **parameters}))

    async def commit_files(self, name: str, **fields: Any) -> CommitMade:
        """Write and remove several files as one commit: ``message``, ``base``, ``files``."""
        return await self.call(requests.change_repository(name, "commits", fields))

    async def revert_run(self, name: str, run_id: str) -> CommitMade:
        """Undo what a run committed."""
        return await self.call(requests.change_repository(name, "revert", {"runID": run_id}))

    async def undo_run(self, run_id: str) -> CommitMade:
        """Undo what a run has committed; see `RepositoryCalls.undo_run`."""
        return await self.call(requests.undo_run(run_id))

    async def search_repository(self, name: str, text: str, **parameters: str | int) -> FoundLines:
        """Look for lines: ``regex``, ``ignoreCase``, ``at``."""
        return await self.call(requests.repository_view(name, "search", {"q": text, **parameters}))

    async def repository_log(self, name: str, **parameters: str | int) -> CommitPage:
        """Read the history: ``at``, ``path``, ``skip``, ``limit``."""
        return await self.call(requests.repository_view(name, "log", parameters))

    async def repository_diff(self, name: str, **parameters: str) -> Difference:
        """Read what two commits differ in: ``at``, ``base``."""
        return await self.call(requests.repository_view(name, "diff", parameters))

    async def read_bundle(self, name: str) -> bytes:
        """Read the whole history as a git bundle."""
        return await self.call(requests.repository_bytes(name, "bundle", {}))

    async def send_bundle(self, name: str, bundle: bytes) -> CommitMade:
        """Have the history of a git bundle taken over."""
        return await self.call(requests.send_bytes(name, "bundle", bundle, {}))
