"""Model calls of runs, each within the budget of its task and in the trace of its run."""

from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import structlog
from opentelemetry import trace
from opentelemetry.context import Context

from lightning.domain.budgets import Budgets
from lightning.domain.run_tokens import RunAccess
from lightning.errors import LightningError, NotFound, Transient
from lightning.ids import new_id
from lightning.llm import (
    ChatMessage,
    Completion,
    LanguageModel,
    Options,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
    Usage,
)
from lightning.llm.bill import CALL_SECONDS, GRACE_SECONDS, Bill, json_text, prompt_tokens
from lightning.llm.chosen import LateModel
from lightning.llm.token_metrics import count_tokens
from lightning.llm.window import window_of
from lightning.telemetry import carrier, names

#: Calls that one run may have under way at one ingress.
CALLS_PER_RUN: Final = 8

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


class TooManyCalls(Transient):
    """The run has as many calls under way as one may have."""

    code = "too_many_calls"
    status = 429


@dataclass(frozen=True, slots=True)
class Asked:
    """One call."""

    model: str
    messages: Sequence[ChatMessage]
    tools: Sequence[ToolSpec]
    options: Options

    def prompt_tokens(self) -> int:
        """Estimate the tokens of the question."""
        texts = [tool.name + tool.description + json_text(tool.parameters) for tool in self.tools]
        if self.options.response_format is not None:
            texts.append(json_text(self.options.response_format))
        return prompt_tokens(self.messages, texts)


@dataclass(frozen=True, slots=True)
class Metered:
    """An answer with what it cost; ``estimated`` where its server did not say."""

    completion: Completion
    usage: Usage
    estimated: bool


#: What is handed on of an answer.
MeteredPiece: TypeAlias = TextDelta | ToolCallDelta | Metered


class MeteredModel:
    """The language model as runs may use it.

    Parameters:
      model: The model.
      budgets: What their tasks may spend.
      allowed: Names that may be asked for.
    """

    def __init__(self, model: LateModel, budgets: Budgets, allowed: Sequence[str]) -> None:
        self._model = model
        self._budgets = budgets
        self.allowed = list(allowed)
        self._under_way: Counter[str] = Counter()

    async def answer(self, access: RunAccess, asked: Asked) -> AsyncGenerator[MeteredPiece, None]:
        """Ask the model for a run; see `LanguageModel.stream`.

        Returns:
          Pieces of text and of calls of tools as they come, then exactly one `Metered`, last.

        Raises:
          NotFound: ``model_not_found``: runs may not ask for it.
          TooManyCalls: Too many calls of the run are under way.
          BudgetExhausted: The task's budget is spent.
          BudgetReserved: The rest of it is held by calls under way.
          LightningError: The errors of `LanguageModel.stream`.
        """
        if asked.model not in self.allowed:
            message = f"There is no model '{asked.model}' here; there are: {', '.join(self.allowed)}."
            raise NotFound(message, code="model_not_found", pointer="/model")
        with self._place(access.run["id"]):
            model = await self._model.get()
            call, bill = new_id(), Bill(asked.prompt_tokens())
            asked = replace(asked, options=await self._reserved(access, call, asked, bill.prompt_tokens))
            last: Metered | None = None
            try:
                async with aclosing(_traced(model, access, asked, bill)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Metered):
                            last = piece
                        else:
                            yield piece
            finally:
                await self._settle(access, call, bill, asked.model if last is None else last.completion.model)
            if last is not None:  # now that whoever has it finds settled what it cost
                yield last

    @contextmanager
    def _place(self, run: str) -> Generator[None]:
        if self._under_way[run] >= CALLS_PER_RUN:
            message = f"{CALLS_PER_RUN} calls of this run are under way; wait until one has ended."
            raise TooManyCalls(message, retry_after=1.0)
        self._under_way[run] += 1
        try:
            yield
        finally:
            self._under_way[run] -= 1
            if not self._under_way[run]:
                del self._under_way[run]

    async def _settle(self, access: RunAccess, call: str, bill: Bill, model: str) -> None:
        usage = bill.usage or bill.estimate()
        took = None if bill.free else (model, usage.prompt_tokens, usage.completion_tokens)
        try:
            await self._budgets.settle(access.task, call, bill.tokens, took)
        except Transient as error:
            # an answer that was paid for is not lost for it: the reservation counts in its place
            _log.warning("call_not_settled", run=access.run["id"], error=error.message)

    async def _reserved(self, access: RunAccess, call: str, asked: Asked, prompt_tokens: int) -> Options:
        """Reserve what the call may cost, and bound its answer to what there is."""
        answer = asked.options.limit or window_of(asked.model).answer
        granted = await self._budgets.reserve(
            access.task,
            call,
            least=prompt_tokens + 1,
            most=prompt_tokens + answer,
            seconds=CALL_SECONDS + GRACE_SECONDS,
        )
        if granted == prompt_tokens + answer:
            return asked.options
        left = granted - prompt_tokens
        if asked.options.max_tokens is not None:
            return replace(asked.options, max_tokens=left, max_completion_tokens=None)
        return replace(asked.options, max_completion_tokens=left)


async def _traced(
    model: LanguageModel, access: RunAccess, asked: Asked, bill: Bill
) -> AsyncGenerator[MeteredPiece, None]:
    attributes = {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_SYSTEM: model.provider,
        names.GEN_AI_PROVIDER_NAME: model.provider,
        names.GEN_AI_REQUEST_MODEL: asked.model,
        names.RUN_ID: access.run["id"],
        names.EVENT: access.task["id"],
        names.USER: access.task["userID"],
        names.AGENT: access.run["agent"] or access.run["image"] or "",
    }
    span = _tracer.start_span(
        f"{names.CHAT} {asked.model}",
        context=_parent(access),
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
    )
    try:
        stream = model.stream(asked.messages, model=asked.model, tools=asked.tools, options=asked.options)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                bill.add(piece)
                yield _metered(piece, bill, span) if isinstance(piece, Completion) else piece
    except LightningError as error:
        bill.fail(error)
        span.set_attribute(names.ERROR_CODE, error.code)
        span.set_status(trace.StatusCode.ERROR, error.message)
        raise
    finally:
        if not bill.free:
            usage = bill.usage or bill.estimate()
            count_tokens(usage, attributes)
            span.set_attribute(names.GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens)
            span.set_attribute(names.GEN_AI_USAGE_OUTPUT_TOKENS, usage.completion_tokens)
            span.set_attribute(names.USAGE_ESTIMATED, bill.usage is None)
        span.end()


def _metered(answer: Completion, bill: Bill, span: trace.Span) -> Metered:
    span.set_attribute(names.GEN_AI_RESPONSE_MODEL, answer.model)
    span.set_attribute(names.GEN_AI_RESPONSE_FINISH_REASONS, [answer.finish_reason])
    return Metered(answer, answer.usage or bill.estimate(), estimated=answer.usage is None)


def _parent(access: RunAccess) -> Context | None:
    """Hang the span below the caller's, where that is in the trace of the run, else below the run."""
    own = carrier.parent(access.trace)
    called = trace.get_current_span().get_span_context()
    if called.trace_id == trace.get_current_span(own).get_span_context().trace_id:
        return None
    return own
