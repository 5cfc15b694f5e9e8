"""Answers `llm.chat`: the conversation so far, a language model, an `llm.chat.response`."""

import time
from contextlib import aclosing

from opentelemetry import trace

from actors.actor import Actor
from actors.outcome import Again, Done, Outcome, Output
from lightning.domain.conversation import context
from lightning.errors import LightningError
from lightning.events import ChatMetadata, ChatResponseMetadata, EventDocument, Problem, Usage
from lightning.live import Notifier
from lightning.llm import ChatMessage, Completion, LanguageModel
from lightning.log import EventLog
from lightning.storage import Where
from lightning.telemetry import names

#: How soon a message looks again whether the one before it has been answered.
TURN_SECONDS = 0.2

#: The last deltas may delay the response by this share of the time that the answer took.
LAST_DELTAS_SHARE = 0.1

SOURCE = "lightning.chat"

_tracer = trace.get_tracer(__name__)


class Chat(Actor):
    """The chat actor.

    Parameters:
      log: The user's log is the memory of the conversation.
      model: Who answers.
      notifier: Shows the user the answer while it is written; None shows nothing before its end.
      context_tokens: At most so many tokens of the conversation are shown to the model.
    """

    def __init__(
        self,
        log: EventLog,
        model: LanguageModel,
        *,
        notifier: Notifier | None = None,
        context_tokens: int = 8000,
    ) -> None:
        self._log = log
        self._model = model
        self._notifier = notifier
        self._context_tokens = context_tokens

    async def handle(self, event: EventDocument, metadata: ChatMetadata) -> Outcome:
        """Answer one message, after those before it in its conversation; see `Actor.handle`."""
        conversation = event["conversationID"] if "conversationID" in event else event["id"]
        if await self._is_early(event, conversation):
            return Again(TURN_SECONDS)
        messages = await context(self._log, event, conversation, metadata.content, self._context_tokens)
        answer = await self._ask(messages, event, conversation)
        response = ChatResponseMetadata(
            content=answer.content,
            conversationID=conversation,
            model=answer.model,
            usage=_usage(answer),
            finishReason=answer.finish_reason,
        )
        return Done([Output("response", "llm.chat.response", response, SOURCE)])

    def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Tell the user that there is no answer, and why."""
        response = ChatResponseMetadata(
            content="",
            conversationID=event.get("conversationID", event["id"]),
            model=self._model.model,
            finishReason="error",
            error=Problem(code=error.code, message=error.message),
        )
        return [Output("failure", "llm.chat.response", response, SOURCE)]

    async def _is_early(self, event: EventDocument, conversation: str) -> bool:
        """Tell whether a message before this one in the conversation still waits for its answer."""
        before = [
            Where("conversationID", "=", conversation),
            Where("type", "=", "llm.chat"),
            Where("state", "=", "accepted"),
        ]
        return bool(await self._log.events(event["userID"], before, before=event["seq"], limit=1))

    async def _ask(self, messages: list[ChatMessage], event: EventDocument, conversation: str) -> Completion:
        attributes = {
            names.GEN_AI_OPERATION_NAME: "chat",
            names.GEN_AI_SYSTEM: self._model.provider,
            names.GEN_AI_PROVIDER_NAME: self._model.provider,
            names.GEN_AI_REQUEST_MODEL: self._model.model,
            names.GEN_AI_CONVERSATION_ID: conversation,
        }
        with _tracer.start_as_current_span(
            f"{names.CHAT} {self._model.model}", kind=trace.SpanKind.CLIENT, attributes=attributes
        ) as span:
            try:
                answer = await self._complete(messages, event, conversation)
            except LightningError as error:
                span.set_attribute(names.ERROR_CODE, error.code)
                raise
            span.set_attribute(names.GEN_AI_RESPONSE_MODEL, answer.model)
            span.set_attribute(names.GEN_AI_RESPONSE_FINISH_REASONS, [answer.finish_reason])
            if answer.usage is not None:
                span.set_attribute(names.GEN_AI_USAGE_INPUT_TOKENS, answer.usage.prompt_tokens)
                span.set_attribute(names.GEN_AI_USAGE_OUTPUT_TOKENS, answer.usage.completion_tokens)
            return answer

    async def _complete(
        self, messages: list[ChatMessage], event: EventDocument, conversation: str
    ) -> Completion:
        """Ask the model, and pass its answer on while it is written."""
        notifier, begun, offset = self._notifier, time.monotonic(), 0
        async with aclosing(self._model.stream(messages)) as stream:
            async for piece in stream:
                if isinstance(piece, Completion):
                    break
                if notifier is not None:
                    told = event["userID"], event["id"], conversation, event["attempts"]
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
