"""The calls about runs, which both clients have."""

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import RunLog, RunMessage, RunPage, RunWithReport


class RunCalls(Caller):
    """What a client can do with runs."""

    def runs(self, **parameters: str | int) -> RunPage:
        """List runs, that of the latest task first: ``limit``, ``page``."""
        return self._call(requests.runs(parameters))

    def run(self, run_id: str) -> RunWithReport:
        """Read a run: where it stands, or how it ended, and what it says of itself."""
        return self._call(requests.run(run_id))

    def tell_run(
        self, run_id: str, content: str, *, question_id: str | None = None, key: str | None = None
    ) -> RunMessage:
        """Say something to a run that goes on, such as the answer to a question.

        Parameters:
          run_id: The run.
          content: What is said.
          question_id: The question that it answers.
          key: The same under it again is said once.

        Raises:
          ClientError: It is over (code ``run_over``), or not there.
        """
        return self._call(requests.tell_run(run_id, content, question_id, key))

    def run_log(self, run_id: str, **parameters: str | int) -> RunLog:
        """Read a part of what a run printed: ``offset``, ``limit``, in characters."""
        return self._call(requests.run_log(run_id, parameters))


class AsyncRunCalls(AsyncCaller):
    """What a client for asyncio can do with runs; see `RunCalls`."""

    async def runs(self, **parameters: str | int) -> RunPage:
        """List runs, that of the latest task first: ``limit``, ``page``."""
        return await self.call(requests.runs(parameters))

    async def run(self, run_id: str) -> RunWithReport:
        """Read a run: where it stands, or how it ended, and what it says of itself."""
        return await self.call(requests.run(run_id))

    async def tell_run(
        self, run_id: str, content: str, *, question_id: str | None = None, key: str | None = None
    ) -> RunMessage:
        """Say something to a run that goes on; see `Client.tell_run`."""
        return await self.call(requests.tell_run(run_id, content, question_id, key))

    async def run_log(self, run_id: str, **parameters: str | int) -> RunLog:
        """Read a part of what a run printed: ``offset``, ``limit``, in characters."""
        return await self.call(requests.run_log(run_id, parameters))
