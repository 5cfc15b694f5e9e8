"""Runs inside a sandbox and tries what an attacker would; prints what it found, as one JSON object."""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import socket
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)


def read(path) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError as error:
        return errno.errorcode[error.errno]


def refused(attempt) -> str:
    """Name the error of an attempt; an empty word means that it worked."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""


def call(number: int, *arguments) -> str:
    """Make a system call, and name its error."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments))
    return errno.errorcode[ctypes.get_errno()] if result == -1 else ""


def environments() -> dict[str, str]:
    return {str(path): read(path) for path in Path("/proc").glob("[0-9]*/environ")}


def places() -> list[Path]:
    """Every mount point, and what is in the root and in its directories."""
    mounts = [Path(line.split(" ")[4]) for line in read("/proc/self/mountinfo").splitlines()]
    found = {Path("/"), *mounts, *Path("/").glob("*"), *Path("/").glob("[!p]*/*"), *Path("/dev").rglob("*")}
    return sorted(path for path in found if not path.is_symlink())


def written() -> list[str]:
    """Directories in which a file can be made."""
    found = []
    for top in filter(Path.is_dir, places()):
        with contextlib.suppress(OSError):
            (top / "made").write_text("x")
            found.append(str(top))
    return found


def descriptors() -> dict[int, str]:
    found = {}
    for number in range(64):
        with contextlib.suppress(OSError):
            found[number] = str(Path(f"/proc/self/fd/{number}").readlink())
    return found


def reach(family, kind, address) -> str:
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        return refused(lambda: one.connect(address))


def in_32_bits() -> int:
    """Ask for the process id as a program of 32 bits would; return the signal that this process gets."""
    child = os.fork()
    if child == 0:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def calls() -> dict[str, str]:
    nothing = ctypes.addressof(ctypes.create_string_buffer(256))
    return {
        "mount": call(165, nothing, nothing, nothing, 0, 0),
        "umount2": call(166, nothing, 2),
        "pivot_root": call(155, nothing, nothing),
        "chroot": call(161, nothing),
        "ptrace": call(101, 0, 0, 0, 0),
        "process_vm_readv": call(310, 1, nothing, 1, nothing, 1, 0),
        "keyctl": call(250, 0, -3, 0),
        "add_key": call(248, nothing, nothing, nothing, 1, -3),
        "bpf": call(321, 0, nothing, 64),
        "userfaultfd": call(323, 1),
        "perf_event_open": call(298, nothing, 0, -1, -1, 0),
        "io_uring_setup": call(425, 1, nothing),
        "kexec_load": call(246, 0, 0, nothing, 0),
        "init_module": call(175, nothing, 1, nothing),
        "open_by_handle_at": call(304, -100, nothing, 0),
        "setns": call(308, 0, 0),
        "unshare user": call(272, 0x10000000),
        "clone user": call(56, 0x10000000 | 17, 0, 0, 0, 0),
        "clone3": call(435, nothing, 88),
        "fsopen": call(430, nothing, 0),
        "x32 getpid": call(0x40000000 | 39),
        "TIOCSTI": call(16, 0, 0x5412, nothing),
        "TIOCSTI, high bits": call(16, 0, 0x5412 | 1 << 32, nothing),
        "TIOCLINUX": call(16, 0, 0x541C, nothing),
        "vsock": refused(lambda: socket.socket(40, socket.SOCK_STREAM)),
        "packet": refused(lambda: socket.socket(17, socket.SOCK_RAW)),
        "alg": refused(lambda: socket.socket(38, socket.SOCK_SEQPACKET)),
        "setuid": refused(lambda: os.setuid(0)),
        "setgroups": refused(lambda: os.setgroups([0])),
        "sethostname": call(170, nothing, 1),
    }


def main() -> None:
    port, abstract, *secret_files = sys.argv[1:]
    status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
    found = {
        "descriptors": descriptors(),
        "environment": dict(os.environ),
        "environments": environments(),
        "processes": {path.parent.name: read(path) for path in Path("/proc").glob("[0-9]*/cmdline")},
        "status": {name: value.strip() for name, value in status.items()},
        "written": written(),
        "sockets": [str(path) for path in places() if path.is_socket()],
        "files": [read(path) for path in secret_files],
        "above": read(f"/proc/1/root{secret_files[0]}"),
        "kernel": refused(lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/tmp/x")),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "routes": read("/proc/net/route").splitlines()[1:],
        "udp": reach(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 9)),
        "metadata": reach(socket.AF_INET, socket.SOCK_DGRAM, ("169.254.169.254", 80)),
        "loopback": reach(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port))),
        "abstract": reach(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
        "calls": calls(),
        "32 bits": in_32_bits(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
