"""An ingestion of Application Insights that takes as little of the machine as it can.

It reads what is sent, counts it and answers 200, over a real connection. What an ingestion does besides is
Azure's to do, and not on the cores of the platform: `ops.emulators.monitor`, which checks and keeps each
item, takes 0.1 ms of an event.
"""

import asyncio
from typing import Final, cast

import orjson
import uvloop

#: Where the count is asked for.
COUNT_PATH: Final = "/count"

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"

_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"

# Each item has one key; and the last word of a type is followed by a quotation mark nowhere else.
_ITEM: Final = b'"iKey":'
_SPANS: Final = (b'"RequestData"', b'"RemoteDependencyData"')


class Ingestion(asyncio.Protocol):
    """One keep-alive connection; requests say how long they are.

    Parameters:
      taken: What all connections took: the number of spans is added to its only member.
    """

    def __init__(self, taken: list[int]) -> None:
        self._taken = taken
        self._received = bytearray()
        self._head = 0
        self._whole = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect requests, and answer each."""
        self._received += data
        while self._is_whole():
            request = bytes(self._received[: self._whole])
            del self._received[: self._whole]
            answer = self._answer(request)
            self._head = self._whole = 0
            self._transport.write(_ANSWER % (len(answer), answer))

    def _is_whole(self) -> bool:
        if not self._whole:
            end = self._received.find(_END_OF_HEAD)
            if end < 0:
                return False
            self._head = end + len(_END_OF_HEAD)
            head = bytes(self._received[:end]).lower()
            at = head.find(_LENGTH)
            length = 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
            self._whole = self._head + length
        return len(self._received) >= self._whole

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(b"GET "):
            return orjson.dumps(self._taken[0])
        items = request.count(_ITEM, self._head)
        self._taken[0] += sum(request.count(kind, self._head) for kind in _SPANS)
        return orjson.dumps({"itemsReceived": items, "itemsAccepted": items, "errors": []})


async def serve() -> None:
    """Serve at a free port, which is printed, until the process is told to stop."""
    taken = [0]
    server = await asyncio.get_running_loop().create_server(lambda: Ingestion(taken), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
