"""`lightning up`: the whole platform on one machine, under one supervisor."""

import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from api.chat.installed import INSTALL, is_installed
from lightning.client import ClientError
from lightning.errors import LightningError
from lightning.keys import secret, with_keys
from lightning.settings import Settings, for_child, without_settings
from lightning.storage import refuse_newer
from lightning.telemetry.logs import configure_logging
from ops.access import FILE, knows_first_user, make_first_user, wait_until_ready
from ops.emulation import ENVIRONMENT_FILE
from ops.ports import free_port
from worker.nursery import Nursery
from worker.supervisor import NotStartedError, Process, Running, Supervisor, launch

if TYPE_CHECKING:
    from ops.emulated_azure import EmulatedAzure

#: A process that has drained closes what it has open; what is not done by then is killed.
CLOSING_SECONDS = 10.0

#: What every installation runs is loaded once, and so is what several of its processes need.
LOADED = ("api.main", "worker.main", "worker.clock")
LOADED_WITH_AZURE = (
    *("brokers.servicebus", "lightning.storage.cosmos", "ops.emulators.cosmos.server"),
    *("ops.emulators.servicebus.server", "ops.emulators.arm.server", "ops.emulators.monitor.server"),
)

#: The process that is a client, and gets no key of the platform, not even in a copy of somebody's memory.
CHAT = "chat"


class PortTakenError(NotStartedError):
    """Somebody else listens on the port."""


def up(settings: Settings, *, emulate_azure: bool = False, chat: bool = False, quiet: bool = False) -> None:
    """Run ingress, workers and clock until SIGTERM or SIGINT, then drain them.

    Parameters:
      settings: The settings; keys that are missing are made.
      emulate_azure: Whether the services that they name run on loopback, as long as the others do.
      chat: Whether the chat runs, too.
      quiet: Print nothing but errors.

    Raises:
      PortTakenError: The ingress, or the chat, could not listen.
      StoreTooNew: A newer version wrote to the data directory.
      NotStartedError: An emulator did not start, there is no Chainlit, or directory or host cannot be used.
    """
    configure_logging(log_format=settings.log, log_level=settings.log_level)
    if chat and not is_installed():
        raise NotStartedError(INSTALL)
    refuse_newer(settings)
    try:
        settings = with_keys(settings)
    except OSError as error:
        message = f"{settings.data} takes no file ({error.strerror}); mend it, or choose another --data"
        raise NotStartedError(message) from error
    settings = settings.model_copy(update={"port": _port(settings.host, settings.port, "--port")})
    url = f"http://{settings.host}:{settings.port}"
    settings = settings.model_copy(update={"chat_api": url})
    if chat:
        if settings.chat_port == settings.port:
            # free yet, as the ingress has not begun
            raise PortTakenError(
                f"the ingress and the chat cannot both listen on port {settings.port}; "
                "choose another --port, or LIGHTNING_CHAT_PORT"
            )
        port = _port(settings.host, settings.chat_port, "LIGHTNING_CHAT_PORT")
        # the limits of log-ins are of the browser's address, which the chat passes on
        proxies = settings.trusted_proxies or "127.0.0.1"
        settings = settings.model_copy(update={"chat_port": port, "trusted_proxies": proxies})
    if settings.notify_url is None:
        settings = settings.model_copy(update={"notify_url": f"{url}/notify"})
    start = _starter((*LOADED, *(LOADED_WITH_AZURE if emulate_azure else ())))
    azure = _emulated_azure(settings, start) if emulate_azure else None
    settings = settings if azure is None else azure.settings
    running = [*processes(settings), *([chat_process(settings)] if chat else [])]
    drain_seconds = settings.drain_seconds + CLOSING_SECONDS
    supervisor = Supervisor(running, drain_seconds=drain_seconds, start=start)

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with azure or nullcontext():
        if azure is not None:
            azure.start(supervisor.stopping)
        said = {"emulated": emulate_azure, "chat": chat, "quiet": quiet}
        threading.Thread(target=_greet, args=(url, settings), kwargs=said, daemon=True).start()
        supervisor.run()


def _starter(modules: Sequence[str]) -> Callable[[Process], Running]:
    """Give what starts processes; made while this one has a single thread, as a nursery is a copy of it."""
    if sys.platform != "linux":
        return launch
    nursery = Nursery.copied(modules)
    return lambda process: (launch if process.name == CHAT else nursery.start)(process)


def _emulated_azure(settings: Settings, start: Callable[[Process], Running]) -> "EmulatedAzure":
    from ops.emulated_azure import EmulatedAzure  # noqa: PLC0415 -- no other installation needs emulators

    return EmulatedAzure(settings, start)


def processes(settings: Settings) -> list[Process]:
    """Say what runs an installation: ingress, workers, clock, with settings whose port is decided."""
    ingress = for_child(settings)
    python = [sys.executable, "-m"]
    workers = range(1, settings.workers + 1)
    return [
        Process("web", [*python, "api.main"], ingress),
        *(Process(f"worker.{n}", [*python, "worker.main"], _other(settings, n + 1)) for n in workers),
        Process("clock", [*python, "worker.clock"], _other(settings, 1)),
    ]


def _other(settings: Settings, number: int) -> dict[str, str]:
    """Give the environment of a process that shares the machine with the ingress.

    Its health is on a free port; where it is to be scraped, on one that can be known: so far behind the
    ingress's.
    """
    port = 0 if settings.metrics_token is None else settings.port + number
    return {**for_child(settings), "PORT": str(port)}


def chat_process(settings: Settings) -> Process:
    """Say what runs the chat, with settings whose ports are decided: a client, which gets no other key."""
    told = {
        "LIGHTNING_CHAT_API": settings.chat_api,
        "CHAINLIT_AUTH_SECRET": secret(settings.chat_secret, "CHAINLIT_AUTH_SECRET"),
        "LIGHTNING_DATA": str(settings.data),
        "LIGHTNING_HOST": settings.host,
        "LIGHTNING_LOG": settings.log,
        "LIGHTNING_LOG_LEVEL": settings.log_level,
        "PORT": str(settings.chat_port),
        **({} if settings.public_url is None else {"LIGHTNING_PUBLIC_URL": settings.public_url}),
    }
    return Process(CHAT, [sys.executable, "-m", "api.chat.main"], {**without_settings(), **told})


def _greet(url: str, settings: Settings, *, emulated: bool, chat: bool, quiet: bool) -> None:
    console = Console(stderr=True)
    try:
        username = make_first_user(settings)
        wait_until_ready(url)
    except (ClientError, LightningError) as error:
        console.print(f"[yellow]There is no first user: {error}[/yellow]", highlight=False)
        return
    if quiet:
        return
    model = "echo; set OPENAI_API_KEY for a real one" if settings.llm == "echo" else settings.openai_model
    lightning = _shown(Path(sys.argv[0]))
    where = [] if settings.port == 8000 else ["--url", url]
    data = [] if settings.data == Path(".lightning").absolute() else ["--data", str(settings.data)]
    if knows_first_user(settings.data):
        who = []
        password = f"password in {settings.data / FILE}"
    else:
        who = ["--user", username]
        setting = shlex.join([lightning, "users", "password", username, *data])
        login = shlex.join([lightning, "login", *who, *where, *data])
        password = f"whose password is not kept here; `{setting}` sets another, `{login}` logs in"
    line = shlex.join([lightning, "send", *who, *where, *data, "Hello, Lightning"])
    console.print(
        f"\nLightning listens on {url}\n"
        f"  pages        {url}/dashboard/\n"
        f"{_shown_chat(settings) if chat else ''}"
        f"  data         {settings.data}\n"
        f"{_shown_azure(settings, emulated=emulated)}"
        f"  model        {model}\n"
        f"  first user   {username}, {password}\n\n"
        f"Paste this into another terminal:\n\n  {line}\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _shown_azure(settings: Settings, *, emulated: bool) -> str:
    if not emulated:
        return ""
    file = shlex.quote(str(settings.data / ENVIRONMENT_FILE))
    return f"  Azure        emulated; for other commands: set -a; . {file}\n"


def _shown_chat(settings: Settings) -> str:
    return f"  chat         http://{settings.host}:{settings.chat_port}/chat/\n"


def _shown(program: Path) -> str:
    try:
        return str(program.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(program)


def _port(host: str, port: int, option: str) -> int:
    """Give a port that is free: this one, or any for 0."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except (OSError, TypeError) as error:  # text that can be no host at all is a TypeError
        raise NotStartedError(f"nobody can listen at {host} ({error}); choose another --host") from error
    if port == 0:
        return free_port(host)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"{host}:{port} cannot be used ({error.strerror}); stop whoever does, or choose {option}"
            ) from error
    return port
