"""A platform for an evaluation alone: on loopback, in a directory that is thrown away."""

import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from lightning.client import Client
from lightning.keys import with_keys
from lightning.settings import Settings, given
from lightning.telemetry.logs import configure_logging
from ops.access import Access, make_first_user, wait_until_ready
from ops.emulators.openai import ScriptedModel, serve
from ops.ports import free_port
from ops.up import processes
from worker.supervisor import Supervisor

#: What the environment may say of it: which model, and how sandboxes are. All else belongs to another
#: installation, whose store it must not meet.
_MODEL: Final = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_MODELS", "OPENAI_API_VERSION"),
    *("LIGHTNING_LLM", "LIGHTNING_MODEL_TIMEOUT", "AZURE_CLIENT_ID"),
)
_SANDBOX: Final = ("LIGHTNING_SANDBOX_IMAGES", "LIGHTNING_SANDBOX_NETWORK")

#: Nothing is left to drain when the last scenario is judged.
_DRAIN_SECONDS: Final = 10.0


def has_model() -> bool:
    """Tell whether the environment names a language model."""
    return bool(given("OPENAI_API_KEY", "OPENAI_BASE_URL"))


@contextmanager
def own_platform(*, steps: Sequence[Any] | None = None, model: str | None = None) -> Generator[Client]:
    """Run a platform while the context lasts, and give its first user's client.

    Parameters:
      steps: What a scripted model answers, instead of the one that the environment names.
      model: The usual model, instead of the environment's.

    Raises:
      SettingsError: What the environment says cannot be used.
      ClientError: It does not come up.
    """
    with ExitStack() as stack:
        # a container that was killed may write for a moment
        place = tempfile.TemporaryDirectory(prefix="lightning-eval-", ignore_cleanup_errors=True)
        data = Path(stack.enter_context(place)) / "data"
        if steps is None:
            about = given(*_MODEL)
        else:
            url = stack.enter_context(serve(ScriptedModel(steps)))
            about = {"OPENAI_API_KEY": "sk-of-a-scripted-model", "OPENAI_BASE_URL": url}
        settings = _settings(data, {**about, **({} if model is None else {"OPENAI_MODEL": model})})
        configure_logging(log_format=settings.log, log_level=settings.log_level)
        supervisor = Supervisor(processes(settings), drain_seconds=_DRAIN_SECONDS)
        running = threading.Thread(target=supervisor.run)
        make_first_user(settings)
        stack.callback(running.join)
        stack.callback(supervisor.stop)
        running.start()
        url = f"http://127.0.0.1:{settings.port}"
        wait_until_ready(url, within_seconds=120)
        yield stack.enter_context(Access(url, data).connect())


def _settings(data: Path, about: dict[str, str]) -> Settings:
    port = str(free_port())
    return with_keys(
        Settings.load(
            {
                **given(*_SANDBOX),
                **about,
                "LIGHTNING_DATA": str(data),
                "PORT": port,
                "NOTIFY_URL": f"http://127.0.0.1:{port}/notify",
                "LIGHTNING_LOG_LEVEL": "error",
            }
        )
    )
