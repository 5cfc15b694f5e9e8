"""The runs of a turn as steps on the page: where each stands, what it does, and how it ended."""

import chainlit as cl
from chainlit.utils import utc_now

from api.chat import shown
from lightning.client import Event, RunFrame


class RunStep:
    """The step of one task.

    Parameters:
      task: The `worker.task`.
    """

    def __init__(self, task: Event) -> None:
        self._task = task
        self._step = cl.Step(
            name=shown.run_name(task, "waiting"),
            type="tool",
            id=task["id"],
            language="text",
            default_open=True,
        )
        self._step.metadata = {**shown.AVATAR}
        self._step.start = utc_now()
        self._chars = 0

    async def begin(self) -> None:
        """Show that there is a task."""
        await self._step.send()

    async def live(self, frame: RunFrame) -> None:
        """Show what the run shows of itself."""
        if frame.kind == "run":
            self._step.name = shown.run_name(self._task, frame.text)
            await self._step.update()
        elif frame.kind == "progress":
            percent = "" if frame.percent is None else f"{frame.percent:.0f}% "
            await self._add(f"{percent}{frame.text}\n")
        else:
            await self._add(frame.text)

    async def end(self, result: Event) -> None:
        """Show how it ended."""
        status = result["metadata"]["status"]
        self._step.name = shown.run_name(self._task, status)
        self._step.is_error = status != "succeeded"
        self._step.end = utc_now()
        self._step.output = shown.run_output(result)
        self._step.language = "text"
        await self._step.update()

    async def _add(self, text: str) -> None:
        room = shown.SHOWN_CHARS - self._chars
        self._chars += len(text)
        if room > 0:
            await self._step.stream_token(text[:room])
