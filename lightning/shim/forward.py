"""Carrying connections from a run's loopback to the socket of the run API.

The run sees a plain HTTP address and no part of the host: bytes are carried, nothing is read in them.
"""

import contextlib
import selectors
import socket
from collections.abc import Callable
from typing import Final

from lightning.shim.unix_address import unix_address

_CHUNK_BYTES: Final = 64 * 1024

#: Connections of one run at one time; further ones wait in the kernel.
MAX_CONNECTIONS: Final = 64


class Forwarder:
    """Connections between a listening socket and a unix socket.

    Parameters:
      selector: Where it registers its sockets; the data of each is the function to call.
      door: The listening socket, not blocking.
      target: Path of the unix socket.
    """

    def __init__(self, selector: selectors.BaseSelector, door: socket.socket, target: str) -> None:
        self._selector = selector
        self._door = door
        self._target = target
        self._pairs: set[_Pair] = set()
        selector.register(door, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Cut every connection."""
        for pair in list(self._pairs):
            pair.close()
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._door)
        self._door.close()

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._door.accept()
        except OSError:  # it hung up before
            return
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.settimeout(0)
        client.settimeout(0)
        try:
            with unix_address(self._target) as address:
                server.connect(address)
        except OSError:  # the platform is not there now: what the run sees is a connection that was cut
            client.close()
            server.close()
            return
        self._pairs.add(_Pair(self._selector, client, server, self._gone))
        if len(self._pairs) == MAX_CONNECTIONS:
            self._selector.unregister(self._door)

    def _gone(self, pair: "_Pair") -> None:
        if len(self._pairs) == MAX_CONNECTIONS:
            self._selector.register(self._door, selectors.EVENT_READ, self._accept)
        self._pairs.discard(pair)


class _Pair:
    """Two sockets, each of which gets what the other says."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        client: socket.socket,
        server: socket.socket,
        gone: Callable[["_Pair"], None],
    ) -> None:
        self._selector = selector
        self._gone = gone
        self._ways = (_Way(client, server), _Way(server, client))
        self._open = True
        self._watch()

    def close(self) -> None:
        if self._open:
            self._open = False
            for way in self._ways:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(way.source)
                way.source.close()
            self._gone(self)

    def _ready(self, way: "_Way", back: "_Way", events: int) -> None:
        """Go on with what a socket is ready for: reading from it, or writing what came the other way."""
        try:
            if events & selectors.EVENT_READ:
                way.read()
            if events & selectors.EVENT_WRITE:
                back.write()
        except OSError:  # either end was reset: so is the other
            self.close()
            return
        if all(each.done for each in self._ways):
            self.close()
        elif self._open:
            self._watch()

    def _watch(self) -> None:
        for way, back in (self._ways, self._ways[::-1]):
            events = (selectors.EVENT_READ if way.hungry else 0) | (selectors.EVENT_WRITE if back.full else 0)
            known = self._selector.get_map().get(way.source)
            if known is not None and known.events != events:
                self._selector.unregister(way.source)
                known = None
            if known is None and events:
                self._selector.register(way.source, events, self._callback(way, back))

    def _callback(self, way: "_Way", back: "_Way") -> Callable[[int], None]:
        return lambda events: self._ready(way, back, events)


class _Way:
    """One direction: what was read from the source and is not written to the sink yet."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self._sink = sink
        self._waiting = b""
        self._ended = False
        self.done = False

    @property
    def hungry(self) -> bool:
        return not self._ended and not self._waiting

    @property
    def full(self) -> bool:
        return bool(self._waiting)

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._waiting = self.source.recv(_CHUNK_BYTES)
            self._ended = not self._waiting
            self.write()

    def write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._waiting = self._waiting[self._sink.send(self._waiting) :] if self._waiting else b""
        if self._ended and not self._waiting and not self.done:
            self.done = True
            self._sink.shutdown(socket.SHUT_WR)
