"""Import modules one after another, and print what each did besides being imported.

Run as a program, in a fresh interpreter without bytecode files: python -B imports.py MODULE...
Each line printed is a module, and what it did.
"""

import importlib
import os
import sys
import threading
from typing import Any

_STARTED = {"socket.__new__", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "sqlite3.connect"}
_CHANGED = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.putenv", "os.unsetenv", "os.chdir"}
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

current = ""
found: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note an audit event (PEP 578) that is a side effect."""
    if event == "open":
        path, _, flags = arguments
        if flags & _WRITE_FLAGS and path != os.devnull:
            found.append(f"{current} opens {path} for writing")
    elif event in _STARTED | _CHANGED:
        found.append(f"{current} calls {event}{arguments!r:.80}")


if __name__ == "__main__":
    for third_party in ("dramatiq", "opentelemetry.sdk.trace", "uvicorn", "structlog"):
        importlib.import_module(third_party)  # what these do when they are imported is their own business
    sys.addaudithook(watch)
    threads = threading.active_count()
    for current in sys.argv[1:]:
        importlib.import_module(current)
        if threading.active_count() > threads:
            found.append(f"{current} starts a thread")
            threads = threading.active_count()
    sdks = sorted({name.partition(".")[0] for name in sys.modules} & {"azure", "openai"})
    found += [f"the modules above load {name}" for name in sdks]
    sys.stdout.write("\n".join(found))
