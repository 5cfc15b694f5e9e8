"""Git as a process: without a shell, settings, hooks, prompts or transports of its own, in bounds.

All that git is told stands in its arguments and in the environment that is made here. It works on bare
repositories that are ours; what is in them is somebody else's.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lightning.repositories.child import Child
from lightning.repositories.port import GitFailed, GitMissing

#: Any command may take so long.
TIMEOUT_SECONDS: Final = 120.0

#: Of standard error so much is kept.
_KEPT_ERROR_BYTES: Final = 4096

#: Processes at a time, for one process of ours.
_AT_A_TIME: Final = 4

#: Of those that may well take long, so many besides.
SLOW_AT_A_TIME: Final = 3

#: What a command may use of memory, and write into a file.
_LIMITS: Final = ("--as=2147483648", "--fsize=536870912", "--core=0")

_CONFIG: Final[Mapping[str, str]] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.bigFileThreshold": "16m",
    "core.fsync": "committed",
    "core.fsyncMethod": "batch",
    "core.quotePath": "false",
    "credential.helper": "",
    "diff.external": "",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "grep.threads": "1",
    "http.followRedirects": "false",
    "http.proxy": "",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "merge.directoryRenames": "false",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "uploadpack.advertiseBundleURIs": "false",
}

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "GIT_ASKPASS": "/bin/false",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "PATH": os.defpath,
    "SSH_ASKPASS": "/bin/false",
    "TZ": "UTC",
    "XDG_CONFIG_HOME": "/nonexistent",
}


class TookTooLong(GitFailed):
    """A command did not end in time, and was ended."""


class _TooMuch(Exception):
    """There is more output than is wanted."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed.

    Parameters:
      data: Its standard output.
      status: Its exit status; 0 where its output was cut off.
      truncated: Whether its output was cut off, and the command ended.
    """

    data: bytes
    status: int
    truncated: bool

    @property
    def text(self) -> str:
        """The output as text."""
        return self.data.decode(errors="replace")


class Git:
    """Runs git.

    Parameters:
      program: Where it is; None where there is none.
    """

    def __init__(self, program: str | None) -> None:
        self._program = program
        self._limits = shutil.which("prlimit")
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._slow_turns = asyncio.Semaphore(SLOW_AT_A_TIME)

    @classmethod
    def installed(cls) -> "Git":
        """Find the git of this machine."""
        return cls(shutil.which("git"))

    async def run(
        self,
        folder: Path | None,
        *arguments: str,
        stdin: bytes = b"",
        statuses: Sequence[int] = (0,),
        max_bytes: int = 1024 * 1024,
        cut: bool = False,
        slow: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        config: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Output:
        """Run a command and get what it prints.

        Parameters:
          folder: The bare repository; None where the command needs none.
          arguments: Its name and arguments.
          stdin: What it reads.
          statuses: The exit statuses that are answers; every other is a failure.
          max_bytes: What it may print.
          cut: Whether more than that is cut off, or a failure.
          slow: Whether it may well take long; then it keeps none waiting but its like.
          timeout_seconds: How long it may take.
          config: Settings of git's besides those that always hold.
          environment: Variables besides those that always hold.

        Raises:
          GitMissing: There is no git.
          TookTooLong: It did not end in time.
          GitFailed: It failed, or printed too much.
        """
        if self._program is None:
            raise GitMissing(
                "repositories need git; install it on every machine that serves (git 2.38 or later)"
            )
        limits = [self._limits, *_LIMITS] if self._limits else []
        command = [*limits, self._program, "--no-pager", *arguments]
        given = _environment(folder, config or {}, environment or {})
        async with self._slow_turns if slow else self._turns:
            return await self._run(command, given, stdin, statuses, max_bytes, timeout_seconds, cut=cut)

    async def _run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        statuses: Sequence[int],
        max_bytes: int,
        timeout_seconds: float,
        *,
        cut: bool,
    ) -> Output:
        process = Child(command, environment, feeds=bool(stdin))
        printed, complaints = bytearray(), bytearray()
        try:
            async with asyncio.timeout(timeout_seconds):
                await _exchange(process, stdin, printed, complaints, max_bytes)
                status = await process.wait()
        except TimeoutError:
            raise TookTooLong(f"git did not end within {timeout_seconds:g} seconds") from None
        except _TooMuch:
            if cut:
                return Output(bytes(printed[:max_bytes]), 0, truncated=True)
            raise GitFailed(f"git printed more than {max_bytes} bytes") from None
        finally:
            await asyncio.shield(_let_go(process))
        if status not in statuses:
            said = complaints.decode(errors="replace").strip()
            raise failed(f"git {command_name(command)} ended with status {status}", said)
        return Output(bytes(printed), status, truncated=False)


def failed(message: str, said: str) -> GitFailed:
    """Make a failure whose message is for anybody, and keep what git said for who runs the platform."""
    failure = GitFailed(message)
    failure.said = said
    failure.add_note(said)
    return failure


def command_name(command: Sequence[str]) -> str:
    """Give the name of a git command, from all of its command line."""
    return command[command.index("--no-pager") + 1]


async def _exchange(
    process: Child, stdin: bytes, printed: bytearray, complaints: bytearray, max_bytes: int
) -> None:
    tasks = [
        asyncio.ensure_future(_read(process, printed, max_bytes)),
        asyncio.ensure_future(_drain(process, complaints)),
    ]
    if stdin:
        tasks.append(asyncio.ensure_future(process.feed(stdin)))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(process: Child, kept: bytearray, max_bytes: int) -> None:
    stream = await process.stdout()
    while chunk := await stream.read(64 * 1024):
        kept += chunk
        if len(kept) > max_bytes:
            raise _TooMuch


async def _drain(process: Child, kept: bytearray) -> None:
    stream = await process.stderr()
    while chunk := await stream.read(64 * 1024):
        kept += chunk[: max(0, _KEPT_ERROR_BYTES - len(kept))]


async def _let_go(process: Child) -> None:
    try:
        await process.end()
    finally:
        process.close()


def _environment(
    folder: Path | None, config: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    settings = {**_CONFIG, **config}
    given = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        given[f"GIT_CONFIG_KEY_{number}"] = name
        given[f"GIT_CONFIG_VALUE_{number}"] = value
    if folder is not None:
        given["GIT_DIR"] = str(folder)
    return {**given, **environment}
