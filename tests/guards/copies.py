"""Workers of pytest-xdist begin as copies of one process that has collected the tests, and so loaded them.

To load the platform, its libraries and all tests is most of what a worker does before its first test, and it
takes twice as long before they are compiled. `tests/guards/origin.py` does it once; what is left to a worker
is to collect. It is started as pytest-xdist starts it, by a command: `tests/guards/begin.py` asks for a copy.
"""

import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent
_ORIGIN = pytest.StashKey["Origin"]()

#: Seconds in which it has to end when nobody needs it any more.
_END_SECONDS = 60


class Origin:
    """The process that workers are copies of.

    Parameters:
      arguments: Those of pytest, which say what is collected.
      cwd: What paths among them are relative to.
    """

    def __init__(self, arguments: list[str], cwd: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="origin-")
        self._address = str(Path(self._folder.name) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._address)
            listener.listen()  # those who ask before all is collected wait
            file = listener.fileno()
            command = [sys.executable, "-P", str(_FOLDER / "origin.py"), str(file), *arguments]
            # it stays until its input ends, which it does at the latest with this process
            self._process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, pass_fds=[file])

    @property
    def spec(self) -> str:
        """What execnet calls the way to start a worker."""
        begin = [sys.executable, "-I", "-S", str(_FOLDER / "begin.py"), self._address]
        return f"popen//python={shlex.join(begin)}"

    def close(self) -> None:
        """Let it end, and clean up."""
        self._process.communicate(timeout=_END_SECONDS)
        self._folder.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    """Have workers that would be processes of their own begin as copies; nothing changes without them."""
    wanted: list[str] = getattr(config.option, "tx", None) or []
    if "popen" in wanted and sys.platform == "linux" and not config.option.collectonly:
        origin = Origin([*config.invocation_params.args], config.invocation_params.dir)
        config.stash[_ORIGIN] = origin
        config.option.tx = [origin.spec if each == "popen" else each for each in wanted]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the process go."""
    if _ORIGIN in config.stash:
        config.stash[_ORIGIN].close()
