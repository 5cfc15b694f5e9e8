"""Unix sockets whose paths are longer than an address holds."""

import socket

import pytest

from lightning.shim.unix_address import MAX_BYTES, unix_address


@pytest.mark.parametrize("name", ["short", "l" + "o" * 100 + "ng"])
def test_a_path_of_any_length_is_an_address(tmp_path, name):
    folder = tmp_path / name / ("d" * (len(name) // 2))
    folder.mkdir(parents=True)
    path = folder / "socket"
    # When somebody listens at a path
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as client:
        with unix_address(str(path)) as address:
            door.bind(address)
        door.listen()
        # Then the socket stands there, and is found there
        assert path.is_socket()
        with unix_address(str(path)) as address:
            client.connect(address)
        client.sendall(b"here")
        with door.accept()[0] as arrived:
            assert arrived.recv(4) == b"here"


def test_a_long_path_is_none_as_it_stands(tmp_path):
    # so that the case above is about something
    path = tmp_path / ("x" * MAX_BYTES)
    with socket.socket(socket.AF_UNIX) as door, pytest.raises(OSError, match="too long"):
        door.bind(str(path))
