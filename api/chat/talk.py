"""One open chat: what its user says, the answers while they come, and what goes on behind them."""

import asyncio
from pathlib import Path
from typing import Any, Final, Protocol, cast

import chainlit as cl
from chainlit.context import local_steps

from api.chat import files, questions, shown, toolless, visit
from api.chat.answer import ShownAnswer
from api.chat.follow import Follower
from api.chat.history import unfinished
from lightning.client import Answer, Chat, ClientError, Conversation, Event, EventWithOutputs

SOURCE: Final = "lightning.chat"

#: What the model of a conversation that begins here may do; its user is asked as each tool has it.
TOOLS: Final = (
    *("list_files", "read_file", "search_files", "write_files"),
    *("run_agent", "run_agents", "list_runs", "ask_approval"),
)
_WITHOUT_FILES: Final = ("run_agent", "run_agents", "list_runs", "ask_approval")


class _Kept(Protocol):
    """What Chainlit keeps for a tab, which it has not typed."""

    def get(self, key: str) -> "Talk | None": ...
    def set(self, key: str, value: "Talk") -> None: ...


class Talk:
    """A chat in one tab.

    Parameters:
      thread: The conversation, which begins with what is said first.
    """

    def __init__(self, thread: str) -> None:
        self.thread = thread
        self._conversation: Conversation | None = None
        self._beginning = asyncio.Lock()
        self._chat: Chat | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._asked: tuple[str, str] | None = None

    async def begin(self, title: str | None = None) -> Conversation:
        """Give the conversation, made under that title if it is not there yet."""
        async with self._beginning:
            if self._conversation is None:
                self._conversation = await _conversation(self.thread, title)
            return self._conversation

    async def say(self, message: cl.Message) -> None:
        """Say something, and show the answer while it comes; or answer a run with it."""
        # Chainlit shows answers below a step of its own else, with buttons for feedback
        local_steps.set(None)
        if self._asked is not None:
            await self._answer_run(*self._asked, message.content)
            return
        answer = ShownAnswer(self.thread)
        try:
            content = await self._with_files(message)
            self._chat = visit.client().chat(content, conversation=self.thread, source=SOURCE)
            async with self._chat as chat:
                async for piece in chat:
                    await answer.add(piece)
            said = chat.answer
            await answer.finish(said.content, said.event["root"])
            await self._after(said, answer)
        except ClientError as error:
            await answer.fail(error)
            if toolless.may_be_why(error, self._conversation):
                await toolless.offer()

    def answer_next(self, run_id: str, question_id: str) -> bool:
        """Take what is said next for the answer to a run, or no longer; tell which."""
        asked = (run_id, question_id)
        self._asked = None if self._asked == asked else asked
        return self._asked is not None

    async def go_on_without_tools(self) -> None:
        """Offer the model none from now on.

        Raises:
          ClientError: There was no answer.
        """
        self._conversation = await visit.client().change_conversation(self.thread, tools=[])

    async def stop(self) -> None:
        """Cancel what is being answered."""
        if self._chat is None:
            return
        try:
            await self._chat.cancel()
        except ClientError as error:
            if error.code != "already_over":
                await cl.ErrorMessage(str(error), author=shown.ASSISTANT).send()

    async def resume(self) -> None:
        """Go on showing what had not come to its end."""
        conversation = await self.begin()
        page = await visit.client().messages(self.thread, limit=200)
        known = {event["id"] for event in page["messages"]}
        for event in unfinished(page["messages"], conversation["waiting"]):
            self._follow(event, known)

    async def cancel(self, root: str) -> None:
        """Cancel a turn with its runs, on the platform, and show no more of it.

        Raises:
          ClientError: It is over already; or there was no answer.
        """
        await visit.client().cancel(root)
        if following := self._following.pop(root, None):
            following.cancel()

    def leave(self) -> None:
        """Show nothing any more; the platform goes on."""
        for task in self._following.values():
            task.cancel()

    async def _answer_run(self, run_id: str, question_id: str, content: str) -> None:
        self._asked = None
        try:
            await questions.answer(run_id, question_id, content)
        except ClientError as error:
            await cl.ErrorMessage(str(error), author=shown.ASSISTANT).send()

    async def _with_files(self, message: cl.Message) -> str:
        conversation = await self.begin()
        attached = [(each.name, Path(each.path)) for each in message.elements if each.path]
        if not attached:
            return message.content
        repo = conversation["repo"] or await self._given_repository()
        paths = await files.put(visit.client(), repo, attached)
        note = f"[Attached, in the repository: {', '.join(paths)}]"
        return f"{message.content}\n\n{note}".strip()

    async def _given_repository(self) -> str:
        repo = await files.repository(visit.client())
        if repo is None:
            raise ClientError("files need git on the machine of the platform", code="git_missing")
        self._conversation = await visit.client().change_conversation(self.thread, repo=repo)
        return repo

    async def _after(self, said: Answer, answer: ShownAnswer) -> None:
        """Show what the turn has written so far, and follow it if the answer was not its last word."""
        event = said.event
        await files.show_new(await self.begin(), {event["id"]}, answer.id)
        [response] = [each for each in event["outputs"] if each["id"] == said.id]
        if response["metadata"].get("waitsFor"):
            self._follow(event, {event["id"], said.id})

    def _follow(self, event: Event | EventWithOutputs, known: set[str]) -> None:
        follower = Follower(event, known, self._conversation)
        self._following[event["id"]] = asyncio.create_task(follower.run())


def here() -> Talk:
    """Give the chat of the tab that Chainlit speaks with just now."""
    kept = cast("_Kept", cl.user_session)
    talk = kept.get("talk")
    if talk is None:
        talk = Talk(cl.context.session.thread_id)
        kept.set("talk", talk)
    return talk


async def _conversation(thread: str, title: str | None) -> Conversation:
    client = visit.client()
    try:
        return await client.conversation(thread)
    except ClientError as error:
        if error.status != 404:
            raise
    repo = await files.repository(client)
    given: dict[str, Any] = {"repo": repo, "title": title and title[:200]}
    tools = [{"name": name} for name in (TOOLS if repo else _WITHOUT_FILES)]
    return await client.create_conversation(
        conversationID=thread, tools=tools, **{name: value for name, value in given.items() if value}
    )
