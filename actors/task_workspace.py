"""The repository that a task works on: from which commit its run begins, and what it has committed."""

from typing import Final

import structlog

from lightning.domain.repositories import Known, Repositories
from lightning.domain.runs import Run, Runs
from lightning.errors import LightningError, NotFound, Permanent
from lightning.events import EventDocument
from lightning.tasks import TaskMetadata

#: Refusals of a repository, which are about what the task asks for.
REFUSALS: Final = frozenset({"repository_missing", "repository_unusable"})

_log = structlog.get_logger(__name__)


class TaskWorkspace:
    """The repositories of tasks.

    Parameters:
      runs: Where it is written down.
      repositories: Everybody's.
    """

    def __init__(self, runs: Runs, repositories: Repositories) -> None:
        self._runs = runs
        self._repositories = repositories

    async def begin(self, event: EventDocument, task: TaskMetadata, run: Run) -> Run:
        """Note the newest commit of a task's repository as that which its run begins from, once.

        Raises:
          Permanent: The user has no such repository (``repository_missing``), or it cannot be used
            (``repository_unusable``).
          Transient: It does not answer now.
        """
        if task.repo is None or "workspace" in run.document:
            return run
        user_id = event["userID"]
        try:
            known = await self._repositories.find(user_id, task.repo)
            base = await self._repositories.open(user_id, known).refresh()
        except NotFound:
            message = f"There is no repository {task.repo!r} of yours; make it, or name another one."
            raise Permanent(message, code="repository_missing") from None
        except LightningError as error:
            if error.status >= 500:
                raise
            message = f"The repository {task.repo!r} cannot be used: {error.message}."
            raise Permanent(message, code="repository_unusable") from error
        return await self._runs.begin_from(run, known.id, base)

    async def settle(self, run: Run) -> Run:
        """Note what a run that is over has committed, once; from then on it commits nothing any more."""
        given = run.document.get("workspace")
        if given is None or "commit" in given:
            return run
        user_id = run.document["userID"]
        try:
            known = await self._repositories.find(user_id, given["repo"])
            await self._fetch(user_id, known)
            repository = self._repositories.open_to_read(user_id, known)
            commit = await repository.settle(run.document["id"], base=given["base"])
        except NotFound:  # it was deleted meanwhile
            commit = None
        return await self._runs.settle(run, given, commit)

    async def _fetch(self, user_id: str, known: Known) -> None:
        """Fetch what was pushed where a repository lives, and a crash kept from being known here."""
        if known.url is None:
            return
        try:
            await self._repositories.open(user_id, known).refresh()
        except LightningError as error:
            _log.warning("repository_not_fetched", repository=known.id, error=error.code)
