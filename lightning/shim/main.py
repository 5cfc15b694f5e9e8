"""One shim, from its order to the end of its run.

What happens when it dies, and where: before it holds the lock nothing has happened, and another start
begins anew; after ``began.json`` nobody starts the run again, and whoever looks finds the lock free and
says that the run was lost. The kernel kills the sandbox with its parent.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Generator
from typing import Any, Final

from lightning.shim import folder, network
from lightning.shim.bubble import Bubble
from lightning.shim.cgroups import Group, find, remove
from lightning.shim.forward import Forwarder
from lightning.shim.launch import launch
from lightning.shim.order import Order, from_json
from lightning.shim.uplink import Uplink
from lightning.shim.watch import Ending, Log, Watch

#: What the starter reads when the run is in this process's hands, was in another's before, or may not be
#: started any more.
HELD: Final = b"held"
TAKEN: Final = b"taken"
LATE: Final = b"late"


def main() -> None:
    """Read an order from standard input, hold its run in the background, and say so on standard output."""
    order = from_json(sys.stdin.buffer.read())
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    wakeups = _stops()
    if (refused := _take(order)) is not None:
        os.write(1, refused)
        return
    order.reach("began")
    end: dict[str, Any]
    try:
        end = _hold(order, wakeups)
    except OSError as error:
        end = _lost(f"The sandbox could not be made: {error}.")
    order.reach("ended")
    folder.write_once(order.folder, folder.END, end)


def _take(order: Order) -> bytes | None:
    """Make the run this process's own; else say why not."""
    try:
        if not folder.hold(order.folder) or folder.read(order.folder, folder.END) is not None:
            return TAKEN
        order.reach("held")
        # with the lock: from here on nobody can end and remove the run, and begin to wonder
        if order.start_by is not None and time.time() > order.start_by:
            return LATE
        began = {"at": time.time(), "groups": _group(order)[1]}
        return None if folder.write_once(order.folder, folder.BEGAN, began) else TAKEN
    except FileNotFoundError:  # removed in the meantime
        return TAKEN


def _group(order: Order) -> tuple[Group | None, list[str]]:
    place = find()
    group = Group(place, f"lightning-{order.id:08x}") if place.version else None
    return group, group.folders if group else []


def _hold(order: Order, wakeups: int) -> dict[str, Any]:
    group, folders = _group(order)
    log = Log(order.folder, order.log_bytes)
    try:
        if group is not None:
            group.create(memory_bytes=order.memory_bytes, pids=order.pids, cpu=order.cpu)
        with _network(order):
            ending = _run(order, group, log, wakeups)
        spent = group is not None and group.killed_for_memory()
        return _end(order, ending, memory_spent=spent)
    finally:
        log.close()
        remove(folders)


@contextlib.contextmanager
def _network(order: Order) -> Generator[None]:
    """Leave the host's network, and connect to what the run may reach."""
    uplink = Uplink(order.uplink) if order.uplink else None
    try:
        network.leave()
        if uplink is not None:
            uplink.connect()
        yield
    finally:
        if uplink is not None:
            uplink.close()


def _run(order: Order, group: Group | None, log: Log, wakeups: int) -> Ending:
    output, output_end = os.pipe()
    status, status_end = os.pipe()
    door = network.listen(order.port) if order.socket else None
    bubble = Bubble(order, status=status_end)
    process = launch(order, bubble, group, output_end)
    for handle in (output_end, *bubble.inherited):
        os.close(handle)
    _acknowledge()
    order.reach("launched")
    watch = Watch(
        process,
        log=log,
        output=output,
        status=status,
        wakeups=wakeups,
        wall_seconds=order.wall_seconds,
    )
    if door is not None and order.socket:
        Forwarder(watch.selector, door, order.socket)
    return watch.run()


def _acknowledge() -> None:
    """Tell the starter, and let go of everything that it gave."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, HELD)
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)


def _stops() -> int:
    """Turn SIGTERM into a byte to read."""
    wakeups, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    # a starter that blocks signals, to wait for them, would pass that on to this process and to the run
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return wakeups


def _end(order: Order, ending: Ending, *, memory_spent: bool) -> dict[str, Any]:
    code = ending.exit_code
    if ending.cut == "timeout":
        message = f"It took longer than {order.wall_seconds:g} seconds and was ended."
        return _ended("timeout", message, 128 + signal.SIGKILL)
    if ending.cut == "stopped":
        return _ended("stopped", "It was stopped.", 128 + signal.SIGKILL)
    if code is None:
        return _lost(_why_not(ending.last_words))
    if memory_spent and code != 0:
        mebibytes = order.memory_bytes // (1024 * 1024)
        return _ended("out_of_memory", f"It needed more memory than its {mebibytes} MiB.", code)
    if 128 < code <= 128 + signal.SIGRTMAX:
        return _ended("killed", f"{signal.strsignal(code - 128) or 'A signal'} ended it.", code)
    return _ended("exit", f"It ended with exit code {code}.", code)


def _why_not(last_words: str) -> str:
    lines = [line for line in last_words.splitlines() if line.startswith("bwrap: ")]
    return f"The sandbox could not be made: {lines[-1] if lines else 'it was killed while it was set up'}."


def _lost(message: str) -> dict[str, Any]:
    return _ended("launcher_lost", message, None)


def _ended(reason: str, message: str, code: int | None) -> dict[str, Any]:
    return {"reason": reason, "message": message, "exit_code": code, "at": time.time()}


if __name__ == "__main__":
    main()
