"""Ports for servers that are told theirs before they start."""

import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from ops.ports import PORTS, free_port

ASK = "from ops.ports import free_port; print(*(free_port() for _ in range(40)))"

#: The child begins to look where its parent began.
FORK = """
import os, sys
from ops.ports import free_port
waits, tells = os.pipe()
child = os.fork()
if child:
    os.write(1, f"{free_port()} ".encode())
    os.write(tells, b".")
    os.waitpid(child, 0)
else:
    os.read(waits, 1)
    os.write(1, str(free_port()).encode())
"""


def test_each_is_another_and_can_be_had():
    ports = [free_port() for _ in range(40)]
    assert len(set(ports)) == len(ports)
    assert set(ports) <= set(PORTS)
    with socket.create_server(("127.0.0.1", ports[0])):
        pass


def test_processes_that_look_at_once_find_different_ones():
    asking = [subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    one, other = (set(process.communicate(timeout=30)[0].split()) for process in asking)
    assert len(one) == len(other) == 40
    assert not one & other


def test_a_forked_process_finds_another_than_its_parent():
    output = subprocess.check_output([sys.executable, "-c", FORK], text=True, timeout=30)
    one, other = output.split()
    assert one != other


def test_what_is_in_use_is_passed_over():
    # Given a listener on the port that would be next
    port = free_port()
    following = PORTS[(PORTS.index(port) + 1) % len(PORTS)]
    with socket.socket() as listener:
        with suppress(OSError):  # somebody else has it: as good
            listener.bind(("127.0.0.1", following))
        assert free_port() != following


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")
