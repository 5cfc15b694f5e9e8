"""The chat's process: Chainlit under uvicorn, with what it must know told beforehand.

Chainlit reads its environment and its folder when it is imported, and so is imported here, afterwards.
"""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import uvicorn

from api.chat.installed import INSTALL, is_installed
from lightning.keys import secret
from lightning.settings import Settings, SettingsError, from_environment, tell_libraries
from lightning.telemetry.logs import configure_logging
from lightning.telemetry.redaction import Redactor

_HERE: Final = Path(__file__).parent

#: A frame of the page holds a message at most.
_MAX_FRAME_BYTES: Final = 1024 * 1024

_DRAIN_SECONDS: Final = 5


def main() -> None:
    """Run until told to stop."""
    if not is_installed():
        sys.exit(INSTALL)
    try:
        settings = from_environment()
        key = secret(settings.chat_secret, "CHAINLIT_AUTH_SECRET")
    except SettingsError as error:
        sys.exit(str(error))
    redactor = Redactor(settings.secret_values())
    configure_logging(log_format=settings.log, log_level=settings.log_level, redactor=redactor)
    logging.getLogger("chainlit").setLevel(logging.ERROR)  # it warns of each page without a text of welcome
    os.umask(0o077)  # what Chainlit writes is for its owner only, as all else is
    folder = settings.data / "chat"
    _prepare(folder)
    tell_libraries(
        {
            "CHAINLIT_APP_ROOT": str(folder),
            "CHAINLIT_AUTH_SECRET": key,
            "CHAINLIT_AUTH_COOKIE_NAME": "lightning_chat",
            "CHAINLIT_ROOT_PATH": "/chat",
            "CHAINLIT_ENV_FILE": "/dev/null",  # no file of the working directory changes the environment
        }
    )
    server = uvicorn.Server(_configuration(settings, folder))
    server.run()
    if not server.started:
        sys.exit(3)


def _prepare(folder: Path) -> None:
    """Make the folder anew, but for the sessions: what pages had uploaded is in repositories or given up."""
    for name in (".chainlit", ".files"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / ".chainlit").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    shutil.copyfile(_HERE / "config.toml", folder / ".chainlit" / "config.toml")
    (folder / "public").mkdir(exist_ok=True)
    for name in ("theme.json", "page.css", "names.js"):
        shutil.copyfile(_HERE / name, folder / "public" / name)
    for name in ("favicon", "logo_dark", "logo_light"):
        shutil.copyfile(_HERE.parent / "dashboard" / "static" / "icon.svg", folder / "public" / f"{name}.svg")


def _configuration(settings: Settings, folder: Path) -> uvicorn.Config:
    from chainlit.config import config, load_module  # noqa: PLC0415 -- it reads what was told above

    from api.chat.app import create_app  # noqa: PLC0415
    from api.chat.sessions import Sessions  # noqa: PLC0415

    config.run.headless = True
    load_module(str(_HERE.parent / "chainlit_app.py"))
    sessions = Sessions(settings.chat_api, folder / "sessions")
    return uvicorn.Config(
        create_app(sessions, settings.public_url or settings.chat_api),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ws_max_size=_MAX_FRAME_BYTES,
        proxy_headers=False,
        lifespan="on",
    )


if __name__ == "__main__":
    main()
