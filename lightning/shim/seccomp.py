"""The system calls that no run may make, as a program for the kernel's filter (seccomp(2), bpf classic).

It lets pass what it does not name: an agent may be any program. What it names is what has led out of
containers: mounts and namespaces, kernel keys and modules, other processes' memory, and interfaces that
are large, rarely needed and often broken (bpf, io_uring, userfaultfd, perf). Every other way of numbering
system calls (32 bits, x32) is closed, as the names here would mean other calls there.
"""

import errno
import struct
from typing import Final

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000

#: Offsets in struct seccomp_data; arguments are 64 bits, of which the low half comes first.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_FIRST_ARGUMENT: Final = 16
_SECOND_ARGUMENT: Final = 24

_X32: Final = 0x40000000

#: CLONE_NEWNS, then CLONE_NEWCGROUP to CLONE_NEWNET; clone(2) has no bit for time namespaces.
_NAMESPACES: Final = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

#: Put words into a terminal, as if typed.
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C

#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: the others (vsock above all) know no network namespace.
_FAMILIES: Final = (1, 2, 10, 16)

#: The same numbers on every architecture since Linux 5.1.
_SHARED: Final = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467,
}  # fmt: skip

#: include/uapi/asm/unistd_64.h
_X86_64: Final = {
    "ptrace": 101, "syslog": 103, "uselib": 134, "ustat": 136, "sysfs": 139, "vhangup": 153,
    "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163,
    "settimeofday": 164,
    "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170,
    "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175,
    "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179, "nfsservctl": 180,
    "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "migrate_pages": 256, "unshare": 272, "move_pages": 279,
    "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip

#: include/uapi/asm-generic/unistd.h
_AARCH64: Final = {
    "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42, "chroot": 51,
    "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
    "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
    "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "add_key": 217,
    "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "mbind": 235, "migrate_pages": 238,
    "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
    "kexec_file_load": 294,
}  # fmt: skip

#: By machine: AUDIT_ARCH_*, the calls denied, and the numbers of clone, ioctl and socket.
_MACHINES: Final = {
    "x86_64": (0xC000003E, _X86_64, 56, 16, 41),
    "aarch64": (0xC00000B7, _AARCH64, 220, 29, 198),
}

#: clone3 keeps its flags in memory, where no filter sees them; libraries fall back to clone.
_CLONE3: Final = 435


def program(machine: str) -> bytes:
    """Assemble the filter, as bubblewrap's ``--seccomp`` reads it.

    Parameters:
      machine: As ``uname -m`` names it.

    Raises:
      OSError: There is no table of system calls for this machine.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"there is no list of system calls for {machine}")
    architecture, denied, clone, ioctl, socket = _MACHINES[machine]
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, _X32), _refuse(errno.ENOSYS)]
    for number in (*denied.values(), *_SHARED.values()):
        lines += [(_EQUAL, 0, 1, number), _refuse(errno.EPERM)]
    lines += [(_EQUAL, 0, 1, _CLONE3), _refuse(errno.ENOSYS)]
    lines += [
        *_only(clone, [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _NAMESPACES), _refuse(errno.EPERM)]),
        *_only(ioctl, [(_LOAD, 0, 0, _SECOND_ARGUMENT), *_never(_TIOCSTI), *_never(_TIOCLINUX)]),
        *_only(socket, [(_LOAD, 0, 0, _FIRST_ARGUMENT), *_families()]),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


_Line = tuple[int, int, int, int]


def _only(number: int, then: list[_Line]) -> list[_Line]:
    """Go through some lines for one call, which is decided with them."""
    return [(_EQUAL, 0, len(then) + 1, number), *then, (_RETURN, 0, 0, _ALLOW)]


def _never(value: int) -> list[_Line]:
    return [(_EQUAL, 0, 1, value), _refuse(errno.EPERM)]


def _families() -> list[_Line]:
    allowed = [(_EQUAL, len(_FAMILIES) - at, 0, family) for at, family in enumerate(_FAMILIES)]
    return [*allowed, _refuse(errno.EAFNOSUPPORT)]


def _refuse(number: int) -> _Line:
    return (_RETURN, 0, 0, _ERROR | number)
