"""The unmodified SDK in tests, and the sockets that it forgets.

azure-servicebus 7.15 loses a socket in two places. `AMQPClient.open` keeps a `Connection` whose `open`
failed, and `AMQPClient.close` returns early since there is no session yet. `Connection.close` sets its state
to END when saying goodbye fails, and `Connection._disconnect`, which would close the transport, returns early
in that state. Until the cycle collector comes by, nobody closes the socket. So the transports are noted as
they connect, and closed when the block ends, whatever the SDK did.
"""

import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

from azure.servicebus import ServiceBusClient
from azure.servicebus._pyamqp._transport import _AbstractTransport
from azure.servicebus._pyamqp.aio._transport_async import AsyncTransport
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

#: No retry: a fault is seen as it is. No thread that keeps a sender alive: closing would wait for its second.
QUICK = {"retry_total": 0, "keep_alive": 0}


@contextmanager
def noted(kind: type) -> Iterator[list]:
    """Note every transport of a kind that connects."""
    connect, found = kind.connect, []

    def note(transport, *arguments, **options):
        found.append(transport)
        return connect(transport, *arguments, **options)

    kind.connect = note
    gc.freeze()  # the look at the end is for what is made from now on, not for all that the run has loaded
    try:
        yield found
    finally:
        kind.connect = connect
        gc.collect()


@contextmanager
def sync_client(connection_string: str, **options) -> Iterator[ServiceBusClient]:
    """A client whose sockets are closed at the end."""
    with noted(_AbstractTransport) as transports:
        try:
            with ServiceBusClient.from_connection_string(connection_string, **{**QUICK, **options}) as client:
                yield client
                close_together(list(client._handlers))
        finally:
            for transport in transports:
                transport.close()


def close_together(handlers: list) -> None:
    """Close senders and receivers at the same time: each waits for its own thread, up to a second."""
    with ThreadPoolExecutor(max(1, len(handlers))) as pool:
        for closing in [pool.submit(handler.close) for handler in handlers]:
            closing.result()


@asynccontextmanager
async def aio_client(connection_string: str, **options) -> AsyncIterator[AsyncServiceBusClient]:
    """A client for asyncio whose sockets are closed at the end."""
    with noted(AsyncTransport) as transports:
        client = AsyncServiceBusClient.from_connection_string(connection_string, **{**QUICK, **options})
        try:
            async with client:
                yield client
        finally:
            for transport in transports:
                if transport.writer is not None:
                    transport.writer.close()
