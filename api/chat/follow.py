"""What goes on behind an answer that waits: runs, approvals, and the answers that follow."""

from contextlib import aclosing
from typing import Final

import chainlit as cl

from api.chat import approvals, files, shown, visit
from api.chat.answer import ShownAnswer
from api.chat.questions import Asked
from api.chat.run_steps import RunStep
from lightning.client import ClientError, Conversation, Delta, Event, EventWithOutputs, RunFrame
from lightning.client.answering import Answering

#: The name of the button that cancels a turn.
CANCEL: Final = "cancel"


class Follower:
    """Shows what follows from one message until its turn is over.

    Parameters:
      said: The `llm.chat`.
      known: Ids of the events that are shown already.
      conversation: Where it was said.
    """

    def __init__(
        self, said: Event | EventWithOutputs, known: set[str], conversation: Conversation | None
    ) -> None:
        self._said = said
        self._known = known
        self._conversation = conversation
        self._tree = {said["id"]}
        self._answers: dict[str, tuple[Answering, ShownAnswer]] = {}
        self._runs: dict[str, RunStep] = {}
        self._asked: set[str] = set()
        self._questions = Asked()
        self._waiting: cl.Message | None = None

    async def run(self) -> None:
        """Follow the log from the message on; return when the turn is over."""
        try:
            await self._wait()
            async with aclosing(visit.client().watch(self._said["seq"])) as frames:
                async for frame in frames:
                    if isinstance(frame, Delta):
                        await self._delta(frame)
                    elif isinstance(frame, RunFrame):
                        if frame.task in self._runs:
                            await self._runs[frame.task].live(frame)
                    elif frame["root"] == self._said["id"] and await self._event(frame):
                        break
        except ClientError as error:
            await cl.ErrorMessage(str(error), author=shown.ASSISTANT).send()
        finally:
            if self._waiting is not None:
                await self._waiting.remove()

    async def _wait(self) -> None:
        cancel = cl.Action(name=CANCEL, label="Cancel", payload={"root": self._said["id"]})
        text = f"Under way. {shown.trace_link(self._said['id'])}"
        self._waiting = await cl.Message(text, author=shown.ASSISTANT, actions=[cancel]).send()

    async def _delta(self, delta: Delta) -> None:
        if delta.event in self._tree and delta.event not in self._known:
            answering, answer = self._answer(delta.event)
            for piece in answering.delta(delta):
                await answer.add(piece)

    async def _event(self, event: Event) -> bool:
        """Show an event of the turn; tell whether it was the last."""
        self._tree.add(event["id"])
        said = event["metadata"]
        match event["type"]:
            case "worker.task":
                self._runs[event["id"]] = RunStep(event)
                await self._runs[event["id"]].begin()
            case "worker.task.result":
                if run := self._runs.get(event["cause"] or ""):
                    await run.end(event)
                await self._questions.settle()
                return said["status"] == "cancelled" and await self._is_cancelled()
            case "user.message" if said.get("questionID"):
                await self._questions.show(said["runID"], said["questionID"])
            case "approval.requested":
                self._asked.add(said["approvalID"])
                await approvals.show(await visit.client().approval(said["approvalID"]))
            case "approval.decided":
                await self._settle()
            case "llm.chat.response":
                return await self._response(event)
            case _:
                pass
        return False

    async def _response(self, event: Event) -> bool:
        said = event["metadata"]
        if event["id"] not in self._known:
            answering, answer = self._answer(event["cause"] or "")
            if problem := said.get("error"):
                await answer.fail(ClientError(problem["message"], code=problem["code"]))
            else:
                for piece in answering.finish(said["content"]):
                    await answer.add(piece)
                await answer.finish(said["content"], event["root"])
                await files.show_new(self._conversation, self._tree, answer.id)
            await self._settle()
        return not said.get("waitsFor") and event["id"] not in self._known

    async def _settle(self) -> None:
        """Show what became of what was asked, here or elsewhere, or in time."""
        for id_ in list(self._asked):
            approval = await visit.client().approval(id_)
            if approval["state"] != "pending":
                self._asked.discard(id_)
                await approvals.settle(approval)

    async def _is_cancelled(self) -> bool:
        return "cancelledAt" in await visit.client().event(self._said["id"])

    def _answer(self, event_id: str) -> tuple[Answering, ShownAnswer]:
        if event_id not in self._answers:
            self._answers[event_id] = (
                Answering(event_id),
                ShownAnswer(self._said["metadata"]["conversationID"]),
            )
        return self._answers[event_id]
