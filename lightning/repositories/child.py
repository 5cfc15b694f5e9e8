"""A process in a session of its own, that begins without a copy of ours.

uvloop would fork: the more memory this process has, the longer that takes, 20 ms for 500 MB, and each page
that it writes to afterwards is copied. `subprocess` has vfork(2), which takes 1 ms whatever the size.
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

#: Processes that were killed are waited for so long: all but those that left their session end at once.
_LAST_SECONDS: Final = 5.0

_CHUNK_BYTES: Final = 64 * 1024


class Child:
    """A process that runs, and our ends of its streams; `end` belongs to it, `close` to them.

    The streams are sockets: uvloop closes the file of a pipe once its number may be another file's.

    Parameters:
      command: What to run.
      environment: Its whole environment.
      feeds: Whether it has something to read; else it reads from nothing.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, feeds: bool) -> None:
        streams = ("stdin", "stdout", "stderr") if feeds else ("stdout", "stderr")
        pairs = {stream: socket.socketpair() for stream in streams}
        self._ours = {stream: ours for stream, (ours, _) in pairs.items()}
        self._readers: list[asyncio.StreamReader] = []
        self._writers: list[asyncio.StreamWriter] = []
        theirs = {stream: end.fileno() for stream, (_, end) in pairs.items()}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.get("stdin", subprocess.DEVNULL),
                stdout=theirs["stdout"],
                stderr=theirs["stderr"],
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            self.close()
            raise
        finally:
            for _, end in pairs.values():
                end.close()

    async def feed(self, data: bytes) -> None:
        """Have it read bytes, and then their end; it may end before it has read them."""
        _, writer = await self._connect("stdin")
        # it has read what it wanted; uvloop says so by a RuntimeError
        with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            writer.write(data)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def stdout(self) -> asyncio.StreamReader:
        """Give what it prints."""
        return (await self._connect("stdout"))[0]

    async def stderr(self) -> asyncio.StreamReader:
        """Give what it complains about."""
        return (await self._connect("stderr"))[0]

    async def _connect(self, stream: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(sock=self._ours[stream])
        del self._ours[stream]
        self._readers.append(reader)
        self._writers.append(writer)
        return reader, writer

    async def wait(self) -> int:
        """Wait for its end, and give its exit status."""
        status = self._process.poll()  # whose streams are at their end is mostly over
        return await asyncio.to_thread(self._process.wait) if status is None else status

    async def end(self) -> None:
        """End it, if it still runs, with all processes that it began, and wait until they have ended."""
        if self._process.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.wait()
        # the others hold its streams until they have ended; one that has left the session is not among them
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LAST_SECONDS):
                for reader in self._readers:
                    while await reader.read(_CHUNK_BYTES):
                        pass

    def close(self) -> None:
        """Let go of its streams."""
        for each in (*self._writers, *self._ours.values()):
            each.close()
