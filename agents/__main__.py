"""What runs in a container when a task names an agent: ``python3 -m agents NAME``.

The task is JSON in ``LIGHTNING_TASK``. What an agent prints is the run's log, and its exit code is the run's.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

import agents
from agents.run_api import RunApi
from agents.spans import invoke

TYPE_CHECKING = False  # `typing` takes long to load
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: The codes of sysexits.h: wrong use, and a task that cannot be read.
WRONG_USE = 64
WRONG_DATA = 65

#: The group in which an installed package names its agents, each a function as `run` is.
GROUP = "lightning.agents"

_OWN = frozenset(
    {
        *("__init__", "__main__", "http", "run_api", "spans", "workspace"),
        *("brief", "dialogue", "kept", "shell", "tools"),
    }
)


def names() -> list[str]:
    """List the agents: the modules beside this one, and those of installed packages."""
    return sorted({*_modules(), *_installed()})


def _modules() -> set[str]:
    import pkgutil  # noqa: PLC0415 -- seldom needed

    return {each.name for each in pkgutil.iter_modules(agents.__path__)} - _OWN


def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow to load, and seldom needed

    return {each.name: each for each in entry_points(group=GROUP)}


def load(name: str) -> Callable[..., int] | None:
    """Give what runs an agent, None if there is none; a module beside this one comes before a package's."""
    # not by the list of them, which is slow to make
    if name.isidentifier() and name not in _OWN:
        try:
            return importlib.import_module(f"agents.{name}").run
        except ModuleNotFoundError as error:
            if error.name != f"agents.{name}":  # it is there, and something that it needs is not
                raise
    found = _installed().get(name)
    return None if found is None else found.load()


def connected() -> RunApi | None:
    """Give the run API; None where there is none."""
    url, token = os.environ.get("LIGHTNING_API_URL"), os.environ.get("LIGHTNING_RUN_TOKEN")
    return RunApi(url, token) if url and token else None


def main(arguments: Sequence[str]) -> int:
    """Run the agent that is named.

    Returns:
      The exit code.
    """
    run = load(arguments[0]) if len(arguments) == 1 else None
    if run is None:
        named = f"no agent {arguments[0]!r}" if arguments else "no agent named"
        sys.stderr.write(f"There is {named} here; there are: {', '.join(names())}.\n")
        return WRONG_USE
    try:
        task = json.loads(os.environ.get("LIGHTNING_TASK", ""))
    except ValueError:
        sys.stderr.write("LIGHTNING_TASK holds no JSON; it is the task.\n")
        return WRONG_DATA
    api = connected()
    # an agent that needs nothing of the platform takes its task alone
    work = partial(run, *(task, api, os.environ)[: max(1, _parameters(run))])
    if task.get("repo") is not None:
        from agents.workspace import within  # noqa: PLC0415 -- slow to load, and seldom needed

        work = partial(within, api, os.environ, work)
    return invoke(arguments[0], work, os.environ)


def _parameters(run: Callable[..., int]) -> int:
    """Count what a callable takes."""
    code = getattr(run, "__code__", None)
    if code is not None:
        return code.co_argcount
    import inspect  # noqa: PLC0415 -- slow to load, and what runs an agent is nearly always a function

    return len(inspect.signature(run).parameters)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
