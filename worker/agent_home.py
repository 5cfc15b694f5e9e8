"""Where agents stand in a run, and what starts them."""

import compileall
import sys
from pathlib import Path
from typing import Final

import agents
from actors.task_spec import AgentCommand

_HOME: Final = "/opt/lightning"

#: What a sandbox shows of the host anyway.
_SHOWN: Final = Path("/usr")

#: In an image that has the agents installed.
IMAGE_AGENTS: Final = AgentCommand(("python3", "-m", "agents"))


def sandbox_mounts() -> dict[str, Path]:
    """Say what a sandbox shows of this installation: the agents, and this Python without its packages."""
    python = Path(sys.base_prefix).resolve()
    shown = {f"{_HOME}/agents": Path(agents.__file__ or "").parent}
    return shown if python.is_relative_to(_SHOWN) else {**shown, str(python): python}


def compile_agents() -> None:
    """Compile the agents, where this process may write beside them: a run may not, and would each time."""
    compileall.compile_dir(Path(agents.__file__ or "").parent, maxlevels=0, quiet=2)


def sandbox_agents() -> AgentCommand:
    """Say how a sandbox starts an agent, with this very Python."""
    version = sys.version_info
    python = Path(sys.base_prefix).resolve() / "bin" / f"python{version.major}.{version.minor}"
    # no site: an agent of the installation needs the standard library only
    return AgentCommand((str(python), "-S", "-B", "-m", "agents"), {"PYTHONPATH": _HOME})
