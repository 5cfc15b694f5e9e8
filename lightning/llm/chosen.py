"""The language model that the settings choose, at once or at its first use."""

import asyncio
from collections.abc import Callable

from lightning.keys import secret
from lightning.llm import LanguageModel, open_model
from lightning.settings import Settings


def open_chosen(settings: Settings, *, fits: bool = True) -> LanguageModel:
    """Open the model that the settings choose; see `open_model`."""
    return open_model(
        provider=settings.llm,
        api_key=secret(settings.openai_api_key),
        model=settings.openai_model,
        base_url=settings.openai_base_url,
        timeout_seconds=settings.model_timeout_seconds,
        api_version=settings.openai_api_version,
        credential=_who_asks(settings),
        fits=fits,
    )


def _who_asks(settings: Settings) -> object | None:
    if settings.llm != "azure-openai" or settings.openai_api_key is not None:
        return None
    from lightning.azure_identity import own_identity  # noqa: PLC0415 -- an SDK, only where there is no key

    return own_identity(settings.identity, settings.azure_client_id)


class LateModel:
    """A model that is opened when it is first asked for: its SDK takes half a second to load.

    Parameters:
      open: Opens it; it is called on a thread.
    """

    def __init__(self, open: Callable[[], LanguageModel]) -> None:
        self._open = open
        self._opening: asyncio.Task[LanguageModel] | None = None

    async def get(self) -> LanguageModel:
        """Give the model.

        Raises:
          Permanent: ``model_not_configured``.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(asyncio.to_thread(self._open))
        # shielded: a request that is given up does not take the model from the others
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close it, if it was opened."""
        if self._opening is None:
            return
        [opened] = await asyncio.gather(self._opening, return_exceptions=True)
        if not isinstance(opened, BaseException):
            await opened.close()
