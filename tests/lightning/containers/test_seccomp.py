"""The filter of system calls, run as the kernel would run it, for every machine that it knows."""

import errno
import struct

import pytest

from lightning.shim.seccomp import program

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def decide(machine: str, architecture: int, number: int, *arguments: int) -> int:
    """Interpret the program (linux/filter.h) over one struct seccomp_data."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    lines = list(struct.iter_unpack("=HBBI", program(machine)))
    at = value = 0
    while True:
        code, if_so, if_not, operand = lines[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            at += if_so if holds else if_not


@pytest.mark.parametrize(
    ("machine", "architecture", "mount", "clone", "ioctl", "socket", "read", "execve"),
    [("x86_64", X86, 165, 56, 16, 41, 0, 59), ("aarch64", ARM, 40, 220, 29, 198, 63, 221)],
)
def test_what_is_refused_and_what_passes(machine, architecture, mount, clone, ioctl, socket, read, execve):
    def of(*call: int) -> int:
        return decide(machine, architecture, *call)

    # ordinary calls pass, with any argument
    assert {of(read), of(execve, 1 << 63), of(clone, 0x11), of(clone, 0x3D0F00), of(ioctl, 0, 0x5401)} == {
        ALLOW
    }
    assert {of(socket, family) for family in (1, 2, 10, 16)} == {ALLOW}
    # what leads out does not
    assert of(mount) == ERROR | errno.EPERM
    assert {of(clone, 1 << bit | 0x11) for bit in (17, *range(25, 31))} == {ERROR | errno.EPERM}
    assert of(435) == ERROR | errno.ENOSYS
    assert {of(ioctl, 0, 0x5412), of(ioctl, 0, 0x5412 | 7 << 32), of(ioctl, 0, 0x541C)} == {
        ERROR | errno.EPERM
    }
    assert {of(socket, family) for family in (0, 3, 17, 38, 40)} == {ERROR | errno.EAFNOSUPPORT}


def test_other_numberings_of_calls_are_closed():
    assert decide("x86_64", I386, 20) == KILL
    assert decide("x86_64", ARM, 63) == KILL
    assert decide("aarch64", X86, 0) == KILL
    assert {decide("x86_64", X86, 0x40000000 | number) for number in (0, 39, 165)} == {ERROR | errno.ENOSYS}


def test_a_machine_without_a_table_is_refused():
    with pytest.raises(OSError, match="riscv64"):
        program("riscv64")
