"""Answers `llm.chat`: the conversation so far, a language model and its tools, an `llm.chat.response`.

A reply that calls tools is written down before any of them acts, and what came of each call before the next
one is made; so whoever goes on after a crash asks for nothing twice, and does nothing twice. A reply that has
to wait, for a run or for a person, ends the work on the message with a response; when the last of its results
has come, an `llm.chat.continued` takes the turn up again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from actors.actor import Actor
from actors.chat_approvals import ChatApprovals
from actors.chat_calls import ChatCalls, following
from actors.chat_model import ChatModel, Question
from actors.outcome import Again, Done, Outcome, Output
from lightning.crash import CrashPoint, no_crash
from lightning.domain.approvals import Approvals
from lightning.domain.budgets import BudgetReserved, Budgets
from lightning.domain.context import context, estimate
from lightning.domain.conversations import Conversations
from lightning.domain.turn_messages import CONTINUE, reply_messages
from lightning.domain.turns import Turn, Turns, unfinished
from lightning.errors import LightningError
from lightning.events import (
    ApprovalDecidedMetadata,
    ApprovalExpiryMetadata,
    Awaited,
    ChatContinuedMetadata,
    ChatMetadata,
    ChatResponseMetadata,
    EventDocument,
    Usage,
)
from lightning.live import Notifier
from lightning.llm import ChatMessage, Completion, LanguageModel
from lightning.llm.window import budget
from lightning.log import EventLog
from lightning.log.turns import TURN_TYPES
from lightning.metadata import Problem
from lightning.tools import Parts, Toolset, specs

SOURCE: Final = "lightning.chat"

#: Replies of a model in one turn, those before a wait included.
MAX_REPLIES: Final = 12

#: An approval that nobody has decided for so long is refused.
APPROVAL_SECONDS: Final = 86_400.0

#: When to look again whether calls under way have left something of the budget, if it is not said.
RESERVED_SECONDS: Final = 2.0

_Said = ChatMetadata | ChatContinuedMetadata


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """How far a turn may go.

    Parameters:
      replies: Replies of the model in one turn; to the last one it may call no tool.
      approval_seconds: An approval that nobody has decided for so long is refused.
    """

    replies: int = MAX_REPLIES
    approval_seconds: float = APPROVAL_SECONDS


@dataclass(frozen=True, slots=True)
class ChatTools:
    """What calls of tools need.

    Parameters:
      turns: Where replies are written down that call tools.
      approvals: What people have decided.
      parts: What tools work with.
      limits: How far a turn may go.
    """

    turns: Turns
    approvals: Approvals
    parts: Parts
    limits: ToolLimits = ToolLimits()


@dataclass(slots=True)
class _Turn:
    """The work on one event of a conversation.

    Parameters:
      question: Who is asked, and with which tools.
      began: The message that the turn began with.
      toolset: What the calls may do.
      shown: What the model is shown, without the replies to this event.
      tokens: What it may be shown in all.
      replies: All replies of the turn that called tools.
    """

    question: Question
    began: str
    toolset: Toolset
    shown: Sequence[ChatMessage]
    tokens: int
    replies: list[Turn]

    @property
    def own(self) -> list[Turn]:
        """The replies to this event."""
        return [each for each in self.replies if each.document["eventID"] == self.question.event["id"]]


class Chat(Actor):
    """The chat actor.

    Parameters:
      log: The user's log is the memory of the conversation.
      model: Who answers.
      conversations: What a conversation asks for: its system prompt, its model, its tools.
      tools: What calls of tools need.
      notifier: Shows the user the answer while it is written; None shows nothing before its end.
      context_tokens: At most so many tokens are shown to the model, whatever its window.
      budgets: What answers spend from that follow from something with a budget; None meters nothing.
      crash: Told of every point between reply, effect and note.
    """

    def __init__(
        self,
        log: EventLog,
        model: LanguageModel,
        conversations: Conversations,
        tools: ChatTools,
        *,
        notifier: Notifier | None = None,
        context_tokens: int | None = None,
        budgets: Budgets | None = None,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._log = log
        self._conversations = conversations
        self._turns = turns = tools.turns
        self._model = ChatModel(model, notifier, budgets)
        self._context_tokens = context_tokens
        self._limits = tools.limits
        self._crash = crash
        seconds = tools.limits.approval_seconds
        self._calls = ChatCalls(turns, log, tools.parts, approval_seconds=seconds, crash=crash)
        self._approvals = ChatApprovals(tools.approvals, turns, conversations, self._calls)

    async def handle(
        self, event: EventDocument, metadata: _Said | ApprovalDecidedMetadata | ApprovalExpiryMetadata
    ) -> Outcome:
        """Answer one message, or take a turn up again; the log hands them out in turn. See `Actor.handle`."""
        match metadata:
            case ApprovalDecidedMetadata():
                return await self._approvals.decided(event, metadata.approvalID)
            case ApprovalExpiryMetadata():
                return await self._approvals.expired(event, metadata.approvalID)
            case ChatMetadata() | ChatContinuedMetadata():
                try:
                    return await self._go_on(await self._begin(event, metadata))
                except BudgetReserved as reserved:
                    # nobody's failure, and it ends by itself: what others hold counts as spent in time
                    seconds = reserved.retry_after or RESERVED_SECONDS
                    return Again(seconds, keep_attempts=True, waits_for=reserved)

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output] | Done:
        """Tell the user that there is no answer, and why; what the model was told is sent is sent.

        Of an approval it is the model that is told: its turn goes on.
        """
        if event["type"] not in TURN_TYPES:
            return await self._approvals.given_up(event, error)
        response = ChatResponseMetadata(
            content="",
            conversationID=event.get("conversationID", event["id"]),
            model=self._model.name,
            finishReason="error",
            error=Problem(code=error.code, message=error.message),
            attempt=event["claims"],
        )
        replies = await self._turns.of(event["userID"], event["metadata"].get("turnID", event["id"]))
        return [
            Output("failure", "llm.chat.response", response, SOURCE),
            *following(replies, event["id"]),
        ]

    async def _begin(self, event: EventDocument, metadata: _Said) -> _Turn:
        conversation = event.get("conversationID", event["id"])
        known = await self._conversations.find(event["userID"], conversation)
        toolset = Toolset.of(event["userID"], conversation, known)
        system, model = (None, None) if known is None else (known.get("systemPrompt"), known.get("model"))
        tokens = budget(model or self._model.name, self._context_tokens)
        said = tokens if system is None else tokens - estimate(system)
        goes_on = isinstance(metadata, ChatContinuedMetadata)
        began = metadata.turnID if goes_on else event["id"]
        # whoever has no tools has no replies to look for
        calls = goes_on or bool(toolset.tools)
        replies = await self._turns.of(event["userID"], began) if calls else []
        content = CONTINUE if goes_on else metadata.content
        messages = await context(
            self._log, event, conversation, content, said, turns=self._turns if calls else None, began=began
        )
        if system is not None:
            messages.insert(0, ChatMessage("system", system))
        question = Question(event, conversation, model, specs(toolset.tools.values()))
        return _Turn(question, began, toolset, messages, tokens, replies)

    async def _go_on(self, turn: _Turn) -> Outcome:
        """Ask the model, and make the calls that it wants made, until it calls no more or has to wait."""
        question = turn.question
        while True:
            if unfinished(turn.replies, question.event["id"]) is not None:
                turn.replies[-1] = await self._calls.make(question.event, turn.replies, turn.toolset)
                if turn.replies[-1].document["outstanding"]:
                    return self._close(turn)
            shown = [*turn.shown, *reply_messages([each.document for each in turn.own], turn.tokens)]
            may_call = len(turn.replies) + 1 < self._limits.replies
            reply = await self._model.ask(question, shown, may_call=may_call)
            if not reply.tool_calls or not may_call or not question.tools:
                return self._answer(turn, reply)
            number = len(turn.replies)
            turn.replies.append(
                await self._turns.record(question.event, turn.began, question.conversation, number, reply)
            )
            self._crash("turn:recorded")

    def _answer(self, turn: _Turn, reply: Completion) -> Done:
        content = reply.content
        if not content and reply.tool_calls and turn.question.tools:
            content = (
                f"The turn ended after {self._limits.replies} replies of the model; say whether to go on."
            )
        response = ChatResponseMetadata(
            content=content,
            conversationID=turn.question.conversation,
            model=reply.model,
            usage=_usage(turn.own, reply),
            finishReason=reply.finish_reason,
            attempt=turn.question.event["claims"],
        )
        outputs = following(turn.replies, turn.question.event["id"])
        return Done([Output("response", "llm.chat.response", response, SOURCE), *outputs])

    def _close(self, turn: _Turn) -> Done:
        """End the work on an event whose last reply waits: nothing is held until it has its results."""
        closing = self._calls.close(turn.question.event, turn.replies)
        last = turn.replies[-1].document
        response = ChatResponseMetadata(
            content=last["content"] or "\n".join(_line(each) for each in closing.waits_for),
            conversationID=turn.question.conversation,
            model=last["model"],
            usage=_usage(turn.own, None),
            finishReason="tool_calls",
            attempt=turn.question.event["claims"],
            waitsFor=closing.waits_for,
        )
        outputs = [Output("response", "llm.chat.response", response, SOURCE), *closing.outputs]
        return Done(outputs, closing.writes)


def _line(awaited: Awaited) -> str:
    if awaited.approvalID is not None:
        return f"{awaited.call} waits for your approval ({awaited.approvalID})."
    return f"{awaited.call} is under way."


def _usage(replies: Sequence[Turn], reply: Completion | None) -> Usage | None:
    """Add up what the model's server has counted for one event; None where it did not, once."""
    counted = [each.document["usage"] for each in replies]
    if reply is not None:
        usage = reply.usage
        counted.append(
            None
            if usage is None
            else {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            }
        )
    known = [each for each in counted if each is not None]
    if len(known) < len(counted):
        return None
    fields = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(**{name: sum(each[name] for each in known) for name in fields})
