"""`lightning up`: the whole platform on one machine, under one supervisor."""

import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

from rich.console import Console

from lightning.client import ClientError
from lightning.errors import LightningError
from lightning.keys import with_keys
from lightning.settings import Settings, for_child
from lightning.telemetry.logs import configure_logging
from ops.access import make_first_user, wait_until_ready
from worker.supervisor import Process, Supervisor


class PortTakenError(Exception):
    """Somebody else listens on the port."""


def up(settings: Settings, *, quiet: bool = False) -> None:
    """Run ingress, workers and clock until SIGTERM or SIGINT, then drain them.

    Parameters:
      settings: The settings; keys that are missing are made.
      quiet: Print nothing but errors.

    Raises:
      PortTakenError: The ingress could not listen.
    """
    configure_logging(log_format=settings.log, log_level=settings.log_level)
    settings = with_keys(settings)
    if settings.port == 0:
        settings = settings.model_copy(update={"port": _free_port(settings.host)})
    _check_port(settings.host, settings.port)
    url = f"http://{settings.host}:{settings.port}"
    if settings.notify_url is None:
        settings = settings.model_copy(update={"notify_url": f"{url}/notify"})
    supervisor = Supervisor(_processes(settings))

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.Thread(target=_greet, args=(url, settings, quiet), daemon=True).start()
    supervisor.run()


def _processes(settings: Settings) -> list[Process]:
    ingress = for_child(settings)
    # workers and clock share the machine with the ingress: their health is on a free port
    others = {**ingress, "PORT": "0"}
    python = [sys.executable, "-m"]
    return [
        Process("web", [*python, "api.main"], ingress),
        *(Process(f"worker.{n + 1}", [*python, "worker.main"], others) for n in range(settings.workers)),
        Process("clock", [*python, "worker.clock"], others),
    ]


def _greet(url: str, settings: Settings, quiet: bool) -> None:  # noqa: FBT001 -- a thread's argument
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
    line = " ".join([lightning, "send", *where, *data, "'Hello, Lightning'"])
    console.print(
        f"\nLightning listens on {url}\n"
        f"  data         {settings.data}\n"
        f"  model        {model}\n"
        f"  first user   {username}, password in {settings.data / 'first_user.json'}\n\n"
        f"Paste this into another terminal:\n\n  {line}\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _shown(program: Path) -> str:
    try:
        return str(program.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(program)


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"{host}:{port} cannot be used ({error.strerror}); stop what listens there, or choose --port"
            ) from error


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
