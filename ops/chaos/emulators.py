"""How an emulator runs as a process of an installation, which is killed like the others."""

import sys


def emulator(name: str, *options: str) -> list[str]:
    """Give the command.

    Parameters:
      name: Which one, of `ops.emulators`.
      options: Its own.
    """
    return [sys.executable, "-m", f"ops.emulators.{name}", *options]
