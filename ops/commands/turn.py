"""One message of `lightning chat` and its answer, shown while it comes; Ctrl-C cancels it."""

import asyncio
import signal
from types import TracebackType
from typing import Protocol, Self

from lightning.client import Chat, ClientError, Event, Restarted
from ops.commands import output


class Show(Protocol):
    """Where an answer is shown."""

    def piece(self, text: str) -> None:
        """Show a piece of it."""
        ...

    def restarted(self) -> None:
        """Say that what was shown so far is void."""
        ...

    def done(self, chat: Chat) -> None:
        """Say that it is whole."""
        ...

    def failed(self, error: ClientError) -> None:
        """Say why there is none; the code is ``cancelled`` when it was not wanted any more."""
        ...


class Text:
    """For people."""

    def piece(self, text: str) -> None:
        """Print it, but nothing that a terminal would act on."""
        output.write(output.plain(text))

    def restarted(self) -> None:
        """Begin a new paragraph."""
        output.write("\n[the answer begins anew]\n")

    def done(self, chat: Chat) -> None:
        """End the line."""
        output.write("\n")

    def failed(self, error: ClientError) -> None:
        """Print it apart from the answer."""
        if error.code == "cancelled":
            output.write("\ncancelled\n")
        else:
            output.complain(output.one_line(str(error)))


class Json:
    """For programs: each line is an object with one key."""

    def piece(self, text: str) -> None:
        """Print ``{"piece": text}``."""
        output.write_json({"piece": text})

    def restarted(self) -> None:
        """Print ``{"restarted": true}``."""
        output.write_json({"restarted": True})

    def done(self, chat: Chat) -> None:
        """Print ``{"answer": event}``, the `llm.chat` with its outputs."""
        output.write_json({"answer": chat.answer.event})

    def failed(self, error: ClientError) -> None:
        """Print ``{"error": {"code", "message"}}``."""
        output.write_json({"error": {"code": error.code, "message": str(error)}})


async def show(chat: Chat, where: Show) -> bool:
    """Show an answer while it comes.

    Returns:
      Whether there is one.
    """
    interrupts = _Interrupts(chat)
    try:
        async with chat:
            with interrupts:
                async for piece in chat:
                    if isinstance(piece, Restarted):
                        where.restarted()
                    else:
                        where.piece(piece)
    except ClientError as error:
        where.failed(error)
        return False
    except asyncio.CancelledError:
        where.failed(interrupts.error or ClientError("the answer is no longer waited for"))
        return False
    where.done(chat)
    return True


class _Interrupts:
    """While it is entered, Ctrl-C cancels the answer on the platform; once more leaves it alone."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._cancelling: asyncio.Task[Event | None] | None = None
        self.error: ClientError | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.current_task()
        self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self) -> None:
        if self._cancelling is None:
            self._cancelling = self._loop.create_task(self._cancel())
        else:
            self._leave()

    async def _cancel(self) -> None:
        try:
            if await self._chat.cancel() is None:
                self._leave()
        except ClientError as error:
            if error.code != "already_over":  # then the answer is on its way
                self.error = error
                self._leave()

    def _leave(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
