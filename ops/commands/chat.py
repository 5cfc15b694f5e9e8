"""`lightning chat`: a conversation at the terminal, or one message a line from a pipe."""

import asyncio
import sys
from collections.abc import Callable, Generator
from typing import Annotated

import typer

from lightning.client import AsyncClient, ClientError
from ops.commands import output, turn
from ops.commands.options import AsJsonLines, Data, Url, User, connect_async

HELP = """\
/new          begin a new conversation
/title TEXT   name this conversation
/quit         leave, as Ctrl-D does
Ctrl-C cancels an answer while it comes, and leaves at the prompt.
"""


def chat(
    *,
    conversation: Annotated[str | None, typer.Option(help="Go on in this conversation.")] = None,
    model: Annotated[str | None, typer.Option(help="Begin a conversation with this model.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJsonLines = False,
) -> None:
    """Talk; answers appear as they are written."""
    if model is not None and conversation is not None:
        raise typer.BadParameter("a conversation has its model already", param_hint="--model")
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    with asyncio.Runner() as runner:
        client = runner.run(connect_async(url, data, user))
        talk = Talk(runner, client, turn.Json() if as_json else turn.Text(), conversation, model)
        try:
            fine = talk.at_the_prompt() if interactive else talk.from_a_pipe()
        finally:
            runner.run(client.aclose())
    if not fine:
        raise typer.Exit(1)


class Talk:
    """A conversation and whoever speaks in it.

    Parameters:
      runner: The event loop, which rests while somebody types.
      client: Who speaks.
      show: Where answers are shown.
      conversation: The conversation to go on in.
      model: The model of new conversations, if not the platform's choice.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        client: AsyncClient,
        show: turn.Show,
        conversation: str | None,
        model: str | None,
    ) -> None:
        self._runner = runner
        self._client = client
        self._show = show
        self._conversation = conversation
        self._model = model
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: output.write(HELP),
            "/new": self._new,
            "/title": self._title,
        }

    def at_the_prompt(self) -> bool:
        """Talk to a person until they leave."""
        output.write("/help tells what there is; Ctrl-D leaves.\n")
        for line in _typed():
            word, _, rest = line.partition(" ")
            if word == "/quit":
                break
            if command := self._commands.get(word):
                command(rest.strip())
            elif word.startswith("/"):
                output.write(f"there is no {output.one_line(word)}; /help tells what there is\n")
            else:
                self._say(line)
        if self._conversation is not None:
            output.write(f"go on with: lightning chat --conversation {self._conversation}\n")
        return True

    def from_a_pipe(self) -> bool:
        """Say each line, whatever it is.

        Returns:
          Whether each had an answer.
        """
        fine = True
        for line in sys.stdin:
            if line.strip():
                fine = self._say(line.rstrip("\n")) and fine
        return fine

    def _say(self, content: str) -> bool:
        return self._runner.run(self._turn(content))

    async def _turn(self, content: str) -> bool:
        try:
            if self._conversation is None and self._model is not None:
                self._conversation = (await self._client.create_conversation(model=self._model))["id"]
        except ClientError as error:
            self._show.failed(error)
            return False
        answer = self._client.chat(content, conversation=self._conversation, source="lightning.cli")
        fine = await turn.show(answer, self._show)
        if answer.event is not None:
            self._conversation = answer.event["metadata"]["conversationID"]
        return fine

    def _new(self, _rest: str) -> None:
        self._conversation = None
        output.write("what you say now begins a new conversation\n")

    def _title(self, title: str) -> None:
        if self._conversation is None or not title:
            output.write("say something first, then /title TEXT names it\n")
            return
        try:
            self._runner.run(self._client.change_conversation(self._conversation, title=title))
        except ClientError as error:
            output.complain(output.one_line(str(error)))


def _typed() -> Generator[str]:
    """Give what a person types, line by line with line editing, until Ctrl-D or Ctrl-C."""
    # its import changes how `input` reads
    import readline  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]

    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            output.write("\n")
            return
        if line:
            yield line
