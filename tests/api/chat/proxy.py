"""A proxy in front of chat and ingress, which sets the headers that docs/chat.md tells nginx to set."""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.architecture.tree import ROOT

PAGE = ROOT / "docs" / "chat.md"


@contextmanager
def proxy(chat: str, ingress: str) -> Iterator[str]:
    """Run the proxy for as long as the block lasts, and give its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)  # the browser's driver has a loop that runs here
    thread.start()
    starting = asyncio.start_server(lambda *streams: _serve(*streams, chat, ingress), "127.0.0.1", 0)
    try:
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(20)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chat: str, ingress: str) -> None:
    """Take one request: behind its answer the connection ends, unless it is a WebSocket."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:  # the browser had opened it for later
        writer.close()
        return
    request, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    is_chat = request.split(" ")[1].startswith("/chat/")
    if is_chat:
        headers |= _said(headers)
    if not headers.get("upgrade"):
        headers["connection"] = "close"
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    place = urlsplit(chat if is_chat else ingress)
    behind, ahead = await asyncio.open_connection(place.hostname, place.port)
    ahead.write(f"{request}\r\n{said}\r\n".encode("latin-1"))
    await asyncio.gather(_pass(reader, ahead), _pass(behind, writer))


def _said(headers: Mapping[str, str]) -> dict[str, str]:
    """Read what the page has set, as nginx does; what has no value is not sent."""
    known = {
        "$http_host": headers["host"],
        "$http_upgrade": headers.get("upgrade", ""),
        "$scheme": "https",
        "$proxy_add_x_forwarded_for": "203.0.113.77",
    }
    lines = re.findall(r"proxy_set_header (\S+) (\S+);", PAGE.read_text())
    return {name.lower(): known.get(value, value) for name, value in lines}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
