"""A client that speaks AMQP to the letter, or against it, where the SDK would not."""

import asyncio
import struct
from contextlib import asynccontextmanager

from ops.emulators.servicebus.codec.frames import (
    AMQP_HEADER,
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    FLOW,
    OPEN,
    SASL_HEADER,
    SASL_INIT,
    SASL_OUTCOME,
    SOURCE,
    TARGET,
    Frame,
    frame,
    performative,
    read_frame,
    transfer,
)
from ops.emulators.servicebus.codec.values import Described, Symbol, UByte, UInt, ULong, UShort

BOUND_SECONDS = 10


def message(body: bytes) -> bytes:
    """Encode a message of one data section."""
    return b"\x00\x53\x75\xb0" + struct.pack(">I", len(body)) + body


class RawClient:
    """One connection with one session on channel 1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def send(self, code: int, fields: list, channel: int = 1) -> None:
        self.write(frame(channel, performative(code, fields)))

    async def read(self) -> Frame:
        async with asyncio.timeout(BOUND_SECONDS):
            head = await self.reader.readexactly(4)
            size = struct.unpack(">I", head)[0]
            data = head + await self.reader.readexactly(size - 4)
        return read_frame(data, 0, size)

    async def expect(self, code: int) -> Frame:
        """Read frames up to the first of a kind."""
        while (received := await self.read()).code != code:
            pass
        return received

    async def sasl(self, mechanism: str = "ANONYMOUS", response: bytes = b"") -> int:
        """Do the SASL exchange; gives the outcome's code."""
        self.write(SASL_HEADER)
        assert await self.reader.readexactly(8) == SASL_HEADER
        await self.read()
        init = performative(SASL_INIT, [Symbol(mechanism), response])
        self.write(frame(0, init, kind=1))
        return (await self.expect(SASL_OUTCOME)).number(0)

    async def open(self, *, max_frame_size: int = 65_536, idle_ms: int | None = None) -> Frame:
        self.write(AMQP_HEADER)
        assert await self.reader.readexactly(8) == AMQP_HEADER
        idle = None if idle_ms is None else UInt(idle_ms)
        self.send(OPEN, ["raw", "host", UInt(max_frame_size), UShort(10), idle], channel=0)
        return await self.expect(OPEN)

    async def begin(self, *, window: int = 1000) -> None:
        self.send(BEGIN, [None, UInt(0), UInt(window), UInt(1000), UInt(100)])
        await self.expect(BEGIN)

    async def attach(self, name: str, handle: int, *, receiver: bool, settled: bool = False) -> Frame:
        source = Described(ULong(SOURCE), [name if receiver else "here"])
        target = Described(ULong(TARGET), ["here" if receiver else name])
        self.send(
            ATTACH,
            [f"{name}-{handle}", UInt(handle), receiver, UByte(1 if settled else 0), UByte(1), source, target,
             None, None, None if receiver else UInt(0)],
        )  # fmt: skip
        return await self.expect(ATTACH)

    def credit(
        self, handle: int, credit: int, *, count: int = 0, window: int = 1000, incoming: int = 0, **more
    ):
        self.send(
            FLOW,
            [UInt(incoming), UInt(window), UInt(0), UInt(1000), UInt(handle), UInt(count), UInt(credit), None,
             more.get("drain"), more.get("echo")],
        )  # fmt: skip

    def transfer(
        self, handle: int, delivery_id: int, payload: bytes, *, more: bool = False, first: bool = True
    ):
        tag = delivery_id.to_bytes(4)
        head = transfer(
            handle=handle, delivery_id=delivery_id, tag=tag, settled=False, more=more, is_first=first
        )
        self.write(frame(1, head, payload))

    async def silence(self) -> None:
        """Check that nothing more comes: an echo is the next thing that is heard."""
        self.send(FLOW, [UInt(0), UInt(0), UInt(0), UInt(1000), None, None, None, None, None, True])
        received = await self.read()
        assert received.code == FLOW, received
        assert received.field(4) is None

    async def closed(self) -> str:
        """Wait for a close, and give its condition."""
        received = await self.expect(CLOSE)
        return condition(received.field(0))

    async def detached(self) -> str:
        received = await self.expect(DETACH)
        return condition(received.field(2))


def condition(error) -> str:
    return error.value[0]


@asynccontextmanager
async def connect(emulator):
    """Connect to an emulator, by its connection string."""
    port = int(emulator.connection_string.split(";")[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def session(emulator, **options):
    """Connect, and begin a session."""
    window = options.pop("window", 1000)
    async with connect(emulator) as client:
        assert await client.sasl() == 0
        await client.open(**options)
        await client.begin(window=window)
        yield client
