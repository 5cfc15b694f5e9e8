"""OpenAI, and every server that speaks its chat completions, by the official SDK.

The protocol: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import AsyncGenerator, Sequence
from json import JSONDecodeError
from typing import Final, TypedDict, cast

import httpx2
from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpx2Client, OpenAIError
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming, ResponseFormat
from openai.types.shared import ReasoningEffort
from openai.types.shared_params import FunctionDefinition

from lightning.errors import LightningError, Permanent
from lightning.llm.openai_answer import Answer, MalformedChunk
from lightning.llm.openai_errors import Credentials, FailureReader
from lightning.llm.port import (
    DEFAULT,
    ChatMessage,
    NamedTool,
    Options,
    Piece,
    ToolCall,
    ToolSpec,
)
from lightning.tls import trusted

#: Named here, because the SDK would otherwise look for it in the environment.
OPENAI_BASE_URL = "https://api.openai.com/v1"

_PATH: Final = "/chat/completions"

#: A reachable server accepts a connection much sooner than it answers.
CONNECT_TIMEOUT_SECONDS = 5.0


class OpenAIModel:
    """A model behind OpenAI's chat completions.

    Parameters:
      client: The SDK's client, which must not retry: the event log owns retries, and two retriers
        multiply and hide what happened. It is closed with the model.
      model: The model that is asked when a call names none.
      failures: Reads the client's errors.
      provider: The value of ``gen_ai.provider.name``.
    """

    def __init__(
        self, client: AsyncOpenAI, *, model: str, failures: FailureReader, provider: str = "openai"
    ) -> None:
        self.provider = provider
        self.model = model
        self._client = client
        self._failures = failures

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        tools: Sequence[ToolSpec] = (),
        options: Options = DEFAULT,
    ) -> AsyncGenerator[Piece, None]:
        """Ask the model, and hand on its answer while it is written; see `LanguageModel.stream`."""
        answer = Answer(model=model or self.model)
        chunks: AsyncStream[object] | None = None
        failure: LightningError | None = None
        try:
            # by its path: what the SDK makes of each request and chunk takes longer than all else that is
            # done for an answer, and checks nothing
            chunks = await self._client.post(
                _PATH,
                body=_body(answer.model, messages, tools, options),
                cast_to=object,
                stream=True,
                stream_cls=AsyncStream[object],
            )
            async for chunk in chunks:
                for piece in answer.take(chunk):
                    yield piece
        except (OpenAIError, MalformedChunk, JSONDecodeError, UnicodeDecodeError) as error:
            failure = self._failures.of(error, streaming=chunks is not None)
        finally:
            if chunks is not None:
                await chunks.close()
        # Whatever failed after the finish reason cost the usage at most: the answer is whole, and paid for.
        if not answer.finish_reason:
            # Raised out here, where the SDK's error is no longer its context: that one holds
            # the request with its key, and must not ride along into logs and spans.
            raise failure or self._failures.unfinished(chunks)
        yield answer.completion()

    async def close(self) -> None:
        """Give back connections; streams still open fail."""
        await self._client.close()


def open_openai(
    *, api_key: str, model: str, base_url: str | None = None, timeout_seconds: float
) -> OpenAIModel:
    """Open a model of OpenAI, or of a server that speaks its protocol.

    Parameters:
      api_key: The provider's key.
      model: The model that is asked when a call names none.
      base_url: The server, up to and with ``/v1``; None is OpenAI's own.
      timeout_seconds: The longest silence: before the answer and between its pieces.

    Raises:
      Permanent: ``model_not_configured``: the key or the address is missing or unusable.
    """
    key, address = usable_key(api_key), usable_address(base_url or OPENAI_BASE_URL)
    failures = FailureReader(
        credentials=Credentials([key]), base_url=address, timeout_seconds=timeout_seconds
    )
    timeout = timeouts(timeout_seconds)
    client = AsyncOpenAI(
        api_key=key, base_url=address, timeout=timeout, max_retries=0, http_client=http_client(timeout)
    )
    return OpenAIModel(client, model=model, failures=failures)


def timeouts(timeout_seconds: float) -> httpx2.Timeout:
    """Give the limits of a call: so long for any silence, and less for a connection."""
    return httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS))


def http_client(timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    """Make what the SDK makes for itself, with certificates that this process has loaded already."""
    return DefaultAsyncHttpx2Client(verify=trusted(), timeout=timeout)


def usable_key(api_key: str) -> str:
    """Give the key without the line end that files add.

    The HTTP layer quotes a header that it cannot send in its error, so such a key must not reach it.

    Raises:
      Permanent: ``model_not_configured``.
    """
    key = api_key.strip()
    if not key:
        raise Permanent(
            "Set OPENAI_API_KEY; for a server that needs no key, to any word.", code="model_not_configured"
        )
    if not (key.isascii() and key.isprintable()):
        raise Permanent(
            "OPENAI_API_KEY holds characters that no HTTP header can carry; copy the key again.",
            code="model_not_configured",
        )
    return key


def usable_address(base_url: str) -> str:
    """Check the address of a server.

    Raises:
      Permanent: ``model_not_configured``.
    """
    if not base_url.startswith(("http://", "https://")):
        raise Permanent(
            "OPENAI_BASE_URL must be an address such as https://example.com/v1.", code="model_not_configured"
        )
    return base_url


def _body(
    model: str, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec], options: Options
) -> CompletionCreateParamsStreaming:
    body: CompletionCreateParamsStreaming = {
        "model": model,
        "messages": [_message_param(message) for message in messages],
        **_parameters(options),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:  # an empty list is refused
        body["tools"] = [_tool_param(tool) for tool in tools]
    return body


class _Parameters(TypedDict, total=False):
    """What the provider is told of how to answer; what is left out, it decides."""

    max_tokens: int
    max_completion_tokens: int
    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    stop: list[str]
    seed: int
    tool_choice: ChatCompletionToolChoiceOptionParam
    parallel_tool_calls: bool
    response_format: ResponseFormat
    reasoning_effort: ReasoningEffort


def _parameters(options: Options) -> _Parameters:
    choice = options.tool_choice
    named = (
        {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice
    )
    given = {
        name: getattr(options, name)
        for name in _Parameters.__annotations__
        if getattr(options, name) is not None
    }
    given |= {"stop": list(options.stop), "tool_choice": named}
    return cast("_Parameters", {name: value for name, value in given.items() if value not in (None, [])})


def _message_param(message: ChatMessage) -> ChatCompletionMessageParam:
    match message.role:
        case "system":
            return {"role": "system", "content": message.content}
        case "user":
            return {"role": "user", "content": message.content}
        case "tool":
            return {"role": "tool", "content": message.content, "tool_call_id": message.tool_call_id or ""}
        case "assistant" if message.tool_calls:
            return {
                "role": "assistant",
                "content": message.content or None,
                "tool_calls": [_tool_call_param(call) for call in message.tool_calls],
            }
        case "assistant":
            return {"role": "assistant", "content": message.content}


def _tool_call_param(call: ToolCall) -> ChatCompletionMessageFunctionToolCallParam:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _tool_param(tool: ToolSpec) -> ChatCompletionFunctionToolParam:
    function: FunctionDefinition = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
