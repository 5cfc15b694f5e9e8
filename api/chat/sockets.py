"""What is checked of a WebSocket before Chainlit takes it."""

import re
from typing import Any, Final, cast

from chainlit.server import sio
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.socket import WebSocketSessionAuth, connect

from api.chat import visit

#: The page makes up such ids. Chainlit names a folder by the one of a session, and removes it at its end.
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_connections() -> None:
    """Have every connection checked that is made from now on."""
    sio.on("connect", _connect)  # pyright: ignore[reportUnknownMemberType] -- its library has no types


def held_bytes() -> int:
    """Count what the tabs of this visit's session have uploaded."""
    mine = visit.current.get().session
    tabs = [tab for tab in ws_sessions_id.values() if tab.user and mine and tab.user.identifier == mine.id]
    return sum(file["size"] for tab in tabs for file in tab.files.values())


async def _connect(sid: str, environ: dict[str, Any], auth: object) -> bool:
    given = cast("dict[str, Any]", auth) if isinstance(auth, dict) else {}
    if not _UUID.fullmatch(str(given.get("sessionId"))) or visit.current.get().session is None:
        raise ConnectionRefusedError("authentication failed")
    await connect(sid, environ, cast("WebSocketSessionAuth", given))
    session, thread = WebsocketSession.require(sid), given.get("threadId")
    if session.restored and not session.has_first_interaction and isinstance(thread, str):
        # a page that connects twice at once would never be shown the thread that it has asked for
        session.thread_id = session.thread_id_to_resume = thread
        session.restored = False
    return True
