"""Answers `llm.chat`: the conversation so far, a language model, an `llm.chat.response`."""

import time
from contextlib import aclosing

from opentelemetry import trace

from actors.actor import Actor
from actors.chat_budget import ChatBudget, Granted
from actors.outcome import Done, Outcome, Output
from lightning.domain.budgets import Budgets
from lightning.domain.context import context, estimate
from lightning.domain.conversations import Conversations
from lightning.errors import LightningError
from lightning.events import ChatMetadata, ChatResponseMetadata, EventDocument, Problem, Usage
from lightning.live import Notifier
from lightning.llm import ChatMessage, Completion, LanguageModel, TextDelta
from lightning.llm.token_metrics import count_tokens
from lightning.llm.window import budget
from lightning.log import EventLog
from lightning.telemetry import names

#: The last deltas may delay the response by this share of the time that the answer took.
LAST_DELTAS_SHARE = 0.1

SOURCE = "lightning.chat"

_tracer = trace.get_tracer(__name__)


class Chat(Actor):
    """The chat actor.

    Parameters:
      log: The user's log is the memory of the conversation.
      model: Who answers.
      conversations: What a conversation asks for: its system prompt, its model.
      notifier: Shows the user the answer while it is written; None shows nothing before its end.
      context_tokens: At most so many tokens are shown to the model, whatever its window.
      budgets: What answers spend from that follow from something with a budget; None meters nothing.
    """

    def __init__(
        self,
        log: EventLog,
        model: LanguageModel,
        conversations: Conversations,
        *,
        notifier: Notifier | None = None,
        context_tokens: int | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._log = log
        self._model = model
        self._conversations = conversations
        self._notifier = notifier
        self._context_tokens = context_tokens
        self._budget = ChatBudget(budgets)

    async def handle(self, event: EventDocument, metadata: ChatMetadata) -> Outcome:
        """Answer one message; the log hands them out in turn. See `Actor.handle`."""
        conversation = event.get("conversationID", event["id"])
        known = await self._conversations.find(event["userID"], conversation)
        system, model = (None, None) if known is None else (known.get("systemPrompt"), known.get("model"))
        tokens = budget(model or self._model.model, self._context_tokens)
        if system is not None:
            tokens -= estimate(system)
        messages = await context(self._log, event, conversation, metadata.content, tokens)
        if system is not None:
            messages.insert(0, ChatMessage("system", system))
        answer = await self._ask(messages, event, conversation, model)
        response = ChatResponseMetadata(
            content=answer.content,
            conversationID=conversation,
            model=answer.model,
            usage=_usage(answer),
            finishReason=answer.finish_reason,
            attempt=event["claims"],
        )
        return Done([Output("response", "llm.chat.response", response, SOURCE)])

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Tell the user that there is no answer, and why."""
        response = ChatResponseMetadata(
            content="",
            conversationID=event.get("conversationID", event["id"]),
            model=self._model.model,
            finishReason="error",
            error=Problem(code=error.code, message=error.message),
            attempt=event["claims"],
        )
        return [Output("failure", "llm.chat.response", response, SOURCE)]

    async def _ask(
        self, messages: list[ChatMessage], event: EventDocument, conversation: str, model: str | None
    ) -> Completion:
        asked = model or self._model.model
        attributes = {
            names.GEN_AI_OPERATION_NAME: "chat",
            names.GEN_AI_SYSTEM: self._model.provider,
            names.GEN_AI_PROVIDER_NAME: self._model.provider,
            names.GEN_AI_REQUEST_MODEL: asked,
            names.GEN_AI_CONVERSATION_ID: conversation,
            names.EVENT: event["id"],
            names.USER: event["userID"],
        }
        with _tracer.start_as_current_span(
            f"{names.CHAT} {asked}", kind=trace.SpanKind.CLIENT, attributes=attributes
        ) as span:
            try:
                async with self._budget.granted(event, messages, asked) as granted:
                    answer = await self._complete(messages, event, conversation, model, granted)
            except LightningError as error:
                span.set_attribute(names.ERROR_CODE, error.code)
                raise
            span.set_attribute(names.GEN_AI_RESPONSE_MODEL, answer.model)
            span.set_attribute(names.GEN_AI_RESPONSE_FINISH_REASONS, [answer.finish_reason])
            if answer.usage is not None:
                span.set_attribute(names.GEN_AI_USAGE_INPUT_TOKENS, answer.usage.prompt_tokens)
                span.set_attribute(names.GEN_AI_USAGE_OUTPUT_TOKENS, answer.usage.completion_tokens)
                count_tokens(answer.usage, attributes)
            return answer

    async def _complete(
        self,
        messages: list[ChatMessage],
        event: EventDocument,
        conversation: str,
        model: str | None,
        granted: Granted,
    ) -> Completion:
        """Ask the model, and pass its answer on while it is written."""
        notifier, begun, offset = self._notifier, time.monotonic(), 0
        answering = (
            self._model.stream(messages, model=model)
            if granted.options is None
            else self._model.stream(messages, model=model, options=granted.options)
        )
        async with aclosing(answering) as stream:
            async for piece in stream:
                granted.bill.add(piece)
                if isinstance(piece, Completion):
                    break
                if notifier is not None and isinstance(piece, TextDelta):
                    told = event["userID"], event["id"], conversation, event["claims"]
                    notifier.delta(*told, offset, piece.text)
                    offset += len(piece.text)
            else:
                raise AssertionError("a model's stream ends with its completion")
        if notifier is not None:
            # once the response is recorded it supersedes its deltas: let the last of them go ahead
            patience = (time.monotonic() - begun) * LAST_DELTAS_SHARE
            await notifier.delivered(event["id"], timeout_seconds=patience)
        return piece


def _usage(answer: Completion) -> Usage | None:
    if answer.usage is None:
        return None
    return Usage(
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        total_tokens=answer.usage.total_tokens,
    )
