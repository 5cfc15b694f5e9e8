"""Images for the sandbox, put together from this machine's own programs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Mapping
from pathlib import Path

from worker.agent_home import sandbox_agents

#: Where what a sandbox shows of the host is not seen in an image.
_HOST = Path("/usr")


def interpreter() -> dict[str, str]:
    """Name what this machine's Python is in an image, by the place there.

    One that lies elsewhere than `/usr`, a sandbox shows in each image (`worker.agent_home`).
    """
    files = {"/bin/python": sys.executable}
    if hasattr(zlib, "__file__"):  # else it is in the program itself
        files["/lib/zlib.so"] = zlib.__file__
    python = sandbox_agents().words[0]
    if Path(python).is_relative_to(_HOST):
        library = Path(sysconfig.get_path("stdlib"))
        parts = [path for path in library.rglob("*") if path.is_file() and path.suffix not in {".a", ".o"}]
        files |= {python: python} | {str(path): str(path) for path in parts}
    return files


def make_image(root: Path, programs: Mapping[str, str]) -> None:
    """Make an image that holds programs and the libraries that they need.

    Parameters:
      root: Its directory.
      programs: By the place in the image, the file that is put there.
    """
    command = ["ldd", *filter(_is_binary, programs.values())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    libraries = {word: word for word in listed.split() if word.startswith("/") and not word.endswith(":")}
    for seen, path in {**libraries, **programs}.items():
        place = root / seen.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(Path(path).resolve(), place)


def _is_binary(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _put(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # on another file system
        shutil.copy(source, place)
