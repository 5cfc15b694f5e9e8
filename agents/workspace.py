"""The workspace of an agent: the files of its task's repository, fetched before it and sent back after it."""

import gzip
import hashlib
import os
import shutil
import stat
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import IO

from agents.run_api import RunApi, RunApiError

#: The codes of sysexits.h: a service that is not there, and a result that could not be delivered.
UNAVAILABLE = 69
NOT_TAKEN = 73

#: What tells whether a file is as it was: its content and whether it may be run.
Mark = tuple[str, bool]


class Workspace:
    """The files below a directory, as they were when the agent began.

    Parameters:
      root: The directory.
      api: The run API.
    """

    def __init__(self, root: Path, api: RunApi) -> None:
        self._root = root
        self._api = api
        self._fetched: dict[str, Mark] = {}
        self._given: dict[str, Mark] = {}

    def fetch(self) -> None:
        """Fetch the files. What the task itself brought there is left as it is.

        Raises:
          RunApiError: They cannot be had.
        """
        self._given = dict(self._marks())
        with tempfile.TemporaryFile() as file:
            self._api.fetch_workspace(file)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None:
                        self._fetched[member.name] = self._put(member, content)

    def send(self) -> str | None:
        """Send the files back if any is not as it was, and give the commit that holds them.

        Raises:
          RunApiError: They are not taken.
        """
        now = dict(self._marks())
        # what the task brought, and nobody changed, is not the repository's
        kept = {
            path: mark for path, mark in now.items() if path in self._fetched or self._given.get(path) != mark
        }
        if kept == self._fetched:
            return None
        with tempfile.TemporaryFile() as file:
            with (
                gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for path, (_, executable) in sorted(kept.items()):
                    self._pack(tar, path, executable=executable)
            return self._api.send_workspace(file)["commit"]

    def _put(self, member: tarfile.TarInfo, content: IO[bytes]) -> Mark:
        executable = bool(member.mode & stat.S_IXUSR)
        place = self._root / member.name
        if member.name in self._given:
            return (_digest(content), executable)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as target:
            shutil.copyfileobj(content, target)
        place.chmod(0o755 if executable else 0o644)
        with place.open("rb") as source:
            return (_digest(source), executable)

    def _pack(self, tar: tarfile.TarFile, path: str, *, executable: bool) -> None:
        with (self._root / path).open("rb") as source:
            about = tarfile.TarInfo(path)
            about.size = os.fstat(source.fileno()).st_size
            about.mode = 0o755 if executable else 0o644
            tar.addfile(about, source)

    def _marks(self) -> Iterator[tuple[str, Mark]]:
        """Mark every plain file; links, devices and what belongs to git are no part of a workspace."""
        for folder, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if name.lower() != ".git")
            for name in sorted(names):
                place = Path(folder) / name
                about = place.lstat()
                if stat.S_ISREG(about.st_mode) and name.lower() != ".git":
                    with place.open("rb") as source:
                        mark = (_digest(source), bool(about.st_mode & stat.S_IXUSR))
                    yield place.relative_to(self._root).as_posix(), mark


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(1024 * 1024):
        digest.update(chunk)
    return digest.hexdigest()


def within(api: RunApi | None, environment: MutableMapping[str, str], work: Callable[[], int]) -> int:
    """Have an agent work within the repository of its task.

    Parameters:
      api: The run API; None where there is none.
      environment: The variables of the run. What programs keep at ``HOME`` goes elsewhere, where that is the
        workspace.
      work: What the agent does.

    Returns:
      The exit code: the agent's, or that its workspace was not to be had or not taken.
    """
    if api is None:
        return _failed("There is no run API, from which the workspace could be fetched.", UNAVAILABLE)
    workspace = Workspace(Path.cwd(), api)
    try:
        workspace.fetch()
    except RunApiError as error:
        return _failed(f"The workspace cannot be fetched: {error}", UNAVAILABLE)
    if environment.get("HOME") == str(Path.cwd()):
        environment["HOME"] = tempfile.mkdtemp(prefix="home-")
    try:
        code = work()
    except SystemExit as ended:
        if ended.code:  # zero and None are an end like any other
            raise
        code = 0
    if code != 0:
        return code
    try:
        commit = workspace.send()
    except (RunApiError, OSError) as error:
        return _failed(f"What was changed in the workspace is not taken: {error}", NOT_TAKEN)
    if commit is not None:
        sys.stdout.write(f"What was changed in the workspace is committed as {commit}.\n")
    return 0


def _failed(message: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    return code
