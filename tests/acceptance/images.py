"""Images for the sandbox, put together from this machine's own programs."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def make_image(root: Path, programs: Mapping[str, str]) -> None:
    """Make an image that holds programs and the libraries that they need.

    Parameters:
      root: Its directory.
      programs: By the place in the image, the file that is put there.
    """
    command = ["ldd", *programs.values()]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    libraries = {word: word for word in listed.split() if word.startswith("/") and not word.endswith(":")}
    for seen, path in {**libraries, **programs}.items():
        place = root / seen.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(Path(path).resolve(), place)


def _put(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # on another file system
        shutil.copy(source, place)
