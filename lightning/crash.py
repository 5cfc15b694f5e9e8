"""Named points at which a test may kill the process, to prove that nothing is lost there."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

#: Told the name of each point as it is reached.
CrashPoint = Callable[[str], None]


def no_crash(_point: str) -> None:
    """Pass every point: what runs in production."""


def crash_at(spec: str | None, data: Path, process: str) -> CrashPoint:
    """Make a point deadly, once for each data directory.

    Parameters:
      spec: ``process/point``, such as ``worker/step:claimed``, or None for no crash at all.
      data: Where the crash leaves a mark, so that the restarted process passes the point.
      process: Which kind of process this is: ``web``, ``worker`` or ``clock``.

    Returns:
      A function that kills the process with SIGKILL when the point is reached for the first time.
    """
    if spec is None:
        return no_crash
    mark = data / f"crashed-{spec.replace('/', '-').replace(':', '-')}"

    def reach(point: str) -> None:
        if f"{process}/{point}" != spec:
            return
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return reach
