"""Starting bubblewrap so that nothing of a run can outlive the shim.

Bubblewrap asks the kernel for that late in its setup, and a parent that died before is not noticed. So the
run gets a process namespace whose first process is ours: with it, the kernel kills all others.
"""

import fcntl
import os
import resource
import select
import signal
from typing import Final

from lightning.shim import kernel
from lightning.shim.bubble import Bubble
from lightning.shim.cgroups import Group
from lightning.shim.order import Order
from lightning.shim.staging import stage

#: Enough for any agent, and no way to fill the kernel's table.
_OPEN_FILES: Final = 4096

#: Processes of the run's user that are not the run's: bubblewrap's two, and ours if it is our user.
_BUBBLEWRAP_PIDS: Final = 2
_OUR_PIDS: Final = 2

_SEALED: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def launch(order: Order, bubble: Bubble, group: Group | None, output: int) -> int:
    """Start bubblewrap, and return the number of the process whose end is the end of everything in the run.

    This process must have left its process namespace (`network.leave`).

    Parameters:
      order: What to run.
      bubble: Its arguments.
      group: The control group to be in; None leaves memory to rlimits, which bound each process alone.
      output: Descriptor that takes the command's output.
    """
    alive, ours = os.pipe()
    first = os.fork()
    if first:
        os.close(alive)
        return first
    try:
        os.close(ours)
        for handle, instead in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(instead, handle)  # the starter waits until nobody holds what it gave
        kernel.die_with_parent(signal.SIGKILL)
        if not select.select([alive], [], [], 0)[0]:  # it would have ended if the shim died before
            _be_first(order, bubble, group)
    except OSError as error:
        os.write(2, f"bwrap: {error}\n".encode())
    finally:
        os._exit(0)


def _be_first(order: Order, bubble: Bubble, group: Group | None) -> None:
    """Be the first process of the run's namespace, until bubblewrap has ended."""
    program = os.open(order.bwrap, os.O_RDONLY)
    libraries = [_in_memory(path) for path in order.libraries]
    if order.uid is not None:
        stage(bubble.staged)
    bubblewrap = os.fork()
    if bubblewrap:
        os.waitpid(bubblewrap, 0)
        return
    os.umask(0o022)
    _ignore_nothing()
    _limit(order, group)
    if order.uid is not None:
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    for handle in (*bubble.inherited, *libraries):
        os.set_inheritable(handle, True)  # noqa: FBT003
    preloaded = ":".join(f"/proc/self/fd/{handle}" for handle in libraries)
    os.execve(program, bubble.command, {"LD_PRELOAD": preloaded} if preloaded else {})  # noqa: S606


def _ignore_nothing() -> None:
    """Have every signal do what it usually does: Python ignores two, `nohup` and a shell's ``&`` others.

    The program would inherit that.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _limit(order: Order, group: Group | None) -> None:
    if group is not None:
        group.join()
    else:
        _set(resource.RLIMIT_DATA, order.memory_bytes)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # counted by user, in each user namespace (Linux 5.14): nobody else is this user in this one
    _set(resource.RLIMIT_NPROC, order.pids + _BUBBLEWRAP_PIDS + (_OUR_PIDS if order.uid is None else 0))


def _set(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (most, most))


def _in_memory(path: str) -> int:
    """Copy a file to memory, sealed.

    The run's user may not be able to walk to it, and inherits the descriptor, which leads nowhere.
    """
    handle = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    source = os.open(path, os.O_RDONLY)
    try:
        os.sendfile(handle, source, 0, os.fstat(source).st_size)
    finally:
        os.close(source)
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALED)
    return handle
