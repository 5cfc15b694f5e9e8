"""Asks the model of a conversation: traced, metered, and shown to the user while it answers."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry import trace

from actors.chat_budget import ChatBudget, Granted
from lightning.domain.budgets import Budgets
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.live import Notifier
from lightning.llm import ChatMessage, Completion, LanguageModel, Options, TextDelta, ToolSpec
from lightning.llm.port import DEFAULT
from lightning.llm.token_metrics import count_tokens
from lightning.telemetry import names

#: The last deltas may delay the response by this share of the time that the answer took.
LAST_DELTAS_SHARE: Final = 0.1

_tracer = trace.get_tracer(__name__)


@dataclass(slots=True)
class Question:
    """What one event has its model asked, perhaps several times.

    Parameters:
      event: The event.
      conversation: Its conversation.
      model: Who is asked; None asks the platform's.
      tools: What the model may call.
      asked: How often it was asked by this attempt.
      offset: How much text was shown while it answered.
    """

    event: EventDocument
    conversation: str
    model: str | None
    tools: Sequence[ToolSpec] = ()
    asked: int = 0
    offset: int = 0


class ChatModel:
    """The model that answers chats.

    Parameters:
      model: Who answers.
      notifier: Shows the user the answer while it is written; None shows nothing before its end.
      budgets: What answers spend from that follow from something with a budget; None meters nothing.
    """

    def __init__(self, model: LanguageModel, notifier: Notifier | None, budgets: Budgets | None) -> None:
        self._model = model
        self._notifier = notifier
        self._budget = ChatBudget(budgets)

    @property
    def name(self) -> str:
        """The model that is asked where a conversation names none."""
        return self._model.model

    async def ask(
        self, question: Question, messages: Sequence[ChatMessage], *, may_call: bool = True
    ) -> Completion:
        """Ask the model.

        Parameters:
          question: For which event, and with which tools.
          messages: What it is shown.
          may_call: Whether it may call the tools.
        """
        asked = question.model or self._model.model
        attributes = {
            names.GEN_AI_OPERATION_NAME: "chat",
            names.GEN_AI_SYSTEM: self._model.provider,
            names.GEN_AI_PROVIDER_NAME: self._model.provider,
            names.GEN_AI_REQUEST_MODEL: asked,
            names.GEN_AI_CONVERSATION_ID: question.conversation,
            names.EVENT: question.event["id"],
            names.USER: question.event["userID"],
        }
        with _tracer.start_as_current_span(
            f"{names.CHAT} {asked}", kind=trace.SpanKind.CLIENT, attributes=attributes
        ) as span:
            try:
                answer = await self._metered(question, messages, asked, may_call=may_call)
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

    async def _metered(
        self, question: Question, messages: Sequence[ChatMessage], asked: str, *, may_call: bool
    ) -> Completion:
        number, tools = question.asked, question.tools
        question.asked += 1
        async with self._budget.granted(question.event, messages, asked, tools, number) as granted:
            options = granted.options
            if tools and not may_call:
                options = replace(options or DEFAULT, tool_choice="none")
            return await self._complete(question, messages, options, granted)

    async def _complete(
        self, question: Question, messages: Sequence[ChatMessage], options: Options | None, granted: Granted
    ) -> Completion:
        """Ask the model, and pass its answer on while it is written."""
        event, notifier, begun = question.event, self._notifier, time.monotonic()
        tools = question.tools
        answering = (
            self._model.stream(messages, model=question.model, tools=tools)
            if options is None
            else self._model.stream(messages, model=question.model, tools=tools, options=options)
        )
        async with aclosing(answering) as stream:
            async for piece in stream:
                granted.bill.add(piece)
                if isinstance(piece, Completion):
                    break
                if notifier is not None and isinstance(piece, TextDelta):
                    told = event["userID"], event["id"], question.conversation, event["claims"]
                    notifier.delta(*told, question.offset, piece.text)
                    question.offset += len(piece.text)
            else:
                raise AssertionError("a model's stream ends with its completion")
        if notifier is not None:
            # once the response is recorded it supersedes its deltas: let the last of them go ahead
            patience = (time.monotonic() - begun) * LAST_DELTAS_SHARE
            await notifier.delivered(event["id"], timeout_seconds=patience)
        return piece
