"""Whether the language model answers."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from lightning.errors import LightningError
from lightning.llm import ChatMessage
from lightning.llm.chosen import open_chosen
from lightning.settings import Settings
from ops.checkup.check import Check
from ops.checkup.commands import first_word, give_role, of_resource

QUESTION: Final = ChatMessage("user", "Answer with the word yes.")


async def look(settings: Settings) -> AsyncIterator[Check]:
    """Ask the model that the settings name for one word, which costs a few tokens."""
    if settings.llm == "echo":
        yield Check("model", "skipped", "echo answers", "set OPENAI_API_KEY, or LIGHTNING_LLM=azure-openai")
        return
    try:
        model = open_chosen(settings)
        try:
            async with aclosing(model.stream([QUESTION])) as pieces:
                async for _ in pieces:
                    pass
        finally:
            await model.close()
    except LightningError as error:
        yield Check("model", "failed", error.message, _remedy(settings))
        return
    yield Check("model", "ok", f"{settings.openai_model} answers")


def _remedy(settings: Settings) -> str:
    if settings.llm == "azure-openai" and settings.openai_api_key is None:
        scope = of_resource(
            "Microsoft.CognitiveServices/accounts", first_word(settings.openai_base_url or "")
        )
        return give_role(settings, "Cognitive Services OpenAI User", scope)
    return "check OPENAI_API_KEY, OPENAI_MODEL and OPENAI_BASE_URL"
