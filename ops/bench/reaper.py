"""Runs a command, and takes in what its processes leave behind, so that their processor time is known.

What holds a run is nobody's child, and its time would be lost. Here it ends as a child of this process,
whose time for ended children grows by it (proc(5), ``cutime`` and ``cstime``).
"""

import ctypes
import os
import signal
import subprocess
import sys
from typing import Final

#: prctl(2)
_PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> None:
    """Run the command that is named until it ends, and end with its code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = subprocess.Popen(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda _number, _frame: command.send_signal(signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == command.pid:
            command.returncode = os.waitstatus_to_exitcode(status)
            sys.exit(command.returncode)


if __name__ == "__main__":
    main()
