"""The runs of a turn as steps on the page: where each stands, what it does, and how it ended."""

from typing import Final

import chainlit as cl
from chainlit.utils import utc_now

from api.chat import shown
from lightning.client import Event, RunFrame

#: What is shown of what a run prints; all of it is in its log.
SHOWN_CHARS: Final = 16_384


class RunStep:
    """The step of one task.

    Parameters:
      task: The `worker.task`.
    """

    def __init__(self, task: Event) -> None:
        asked = task["metadata"]
        self._agent: str = asked.get("name") or asked.get("agent") or asked.get("image") or "run"
        self._step = cl.Step(
            name=f"{self._agent}: waiting", type="tool", id=task["id"], language="text", default_open=True
        )
        # an avatar is asked for by name, and one with other signs is no name to Chainlit
        self._step.metadata = {"avatarName": shown.ASSISTANT}
        self._step.start = utc_now()
        self._chars = 0

    async def begin(self) -> None:
        """Show that there is a task."""
        await self._step.send()

    async def live(self, frame: RunFrame) -> None:
        """Show what the run shows of itself."""
        if frame.kind == "run":
            self._step.name = f"{self._agent}: {frame.text}"
            await self._step.update()
        elif frame.kind == "progress":
            percent = "" if frame.percent is None else f"{frame.percent:.0f}% "
            await self._add(f"{percent}{frame.text}\n")
        else:
            await self._add(frame.text)

    async def end(self, result: Event) -> None:
        """Show how it ended."""
        said = result["metadata"]
        self._step.name = f"{self._agent}: {said['status']}"
        self._step.is_error = said["status"] != "succeeded"
        self._step.end = utc_now()
        lines = [str(said.get("output") or "")[-SHOWN_CHARS:].rstrip(), said["message"]]
        self._step.output = "\n".join(line for line in lines if line)
        self._step.language = "text"
        await self._step.update()

    async def _add(self, text: str) -> None:
        room = SHOWN_CHARS - self._chars
        self._chars += len(text)
        if room > 0:
            await self._step.stream_token(text[:room])
