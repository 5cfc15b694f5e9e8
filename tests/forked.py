"""Programs in Python that begin as copies of a process which has loaded most of what they need."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ops.chaos.forked import fork
from worker.supervisor import Process, Running

REDIRECTED = str(Path(__file__).with_name("redirected.py"))


def start(
    command: Sequence[str], environment: Mapping[str, str], stdin: Path, stdout: Path, stderr: Path
) -> Running:
    """Start a program whose standard streams are files."""
    streams = [str(stream) for stream in (stdin, stdout, stderr)]
    return fork(Process("it", [sys.executable, REDIRECTED, *streams, *command], environment))


def run(
    command: Sequence[str], environment: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    with TemporaryDirectory() as name:
        streams = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
        for stream, text in zip(streams, (stdin, "", ""), strict=True):
            stream.write_text(text)
        process = start(command, environment, *streams)
        try:
            status = process.wait(60)
        finally:
            process.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess(list(command), status, *(each.read_text() for each in streams[1:]))
