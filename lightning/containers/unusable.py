"""A runner where none can work: the rest of the platform goes on, and a task is told what to do."""

from collections.abc import AsyncIterator

from lightning.containers.port import ListedRun, LogPortion, RunSpec, RunStatus
from lightning.errors import NotFound, Permanent


class UnusableRunner:
    """Refuses every run.

    Parameters:
      why: Why none can be run, and what to do.
    """

    kind = "unusable"
    api_url: str | None = None

    def __init__(self, why: Permanent) -> None:
        self._why = why

    async def start(self, spec: RunSpec) -> None:
        """Refuse to start a run."""
        del spec
        raise Permanent(self._why.message, code=self._why.code)

    async def status(self, name: str) -> RunStatus:
        """Know of no run."""
        raise NotFound(f"There is no run {name}.", code="run_not_found")

    async def logs(self, name: str, since: int = 0, *, limit: int = 65536) -> LogPortion:
        """Know of no run."""
        del since, limit
        raise NotFound(f"There is no run {name}.", code="run_not_found")

    async def news(self, name: str, since: int | None = None, *, seconds: float) -> None:
        """Return at once: there is no run."""

    async def stop(self, name: str) -> None:
        """Have nothing to stop."""

    async def remove(self, name: str) -> None:
        """Have nothing to remove."""

    async def list(self) -> AsyncIterator[ListedRun]:
        """List nothing."""
        for none in ():
            yield none

    async def close(self) -> None:
        """Have nothing to give back."""
