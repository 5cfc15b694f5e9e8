"""What a stream sends, whatever carries it: the log from a place on, and live frames between."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeAlias

import structlog

from api.platform import Platform
from api.streams import Stream
from lightning.errors import Transient
from lightning.events import EventDocument
from lightning.live import LiveFrame
from lightning.log import Events

_log = structlog.get_logger(__name__)

#: A silent connection is told so often that it lives, which also keeps proxies from closing it.
HEARTBEAT_SECONDS = 15.0

#: Events read at a time: as many as are held for a reader that is slow to take them.
PAGE = 32

#: A store that is away is asked again after so long.
STORE_SECONDS = 1.0

#: An event, live frames in order, or None for a heartbeat.
Item: TypeAlias = "EventDocument | list[LiveFrame] | None"


async def follow(parts: Platform, stream: Stream, after: int) -> AsyncGenerator[Item]:
    """Give what is to be sent until the stream is over.

    Live frames that reached this process before an event was recorded come before that event; after the
    response to an event none of its deltas comes, and after the result of a task no frame of its run, but
    those of a replay do.

    Parameters:
      parts: The platform.
      stream: Whose stream.
      after: The ``seq`` to begin behind.
    """
    mailbox = stream.mailbox
    mailbox.position = after
    while not (stream.expired or stream.left or parts.stopping):
        events = Events()
        if mailbox.take_grown():
            try:
                events = await parts.log.events(stream.claims.subject, after=mailbox.position, limit=PAGE)
            except Transient as error:
                _log.warning("stream_waits", error=error.code)
                mailbox.wake()
                await asyncio.sleep(STORE_SECONDS)
        # after the log was read: what was written before the last of these events is here by now
        if live := mailbox.take_live():
            yield live
        for event in events:
            if event["type"] == "llm.chat.response" and event["cause"] is not None:
                mailbox.answered(event["cause"], event["metadata"].get("attempt"))
            elif event["type"] == "worker.task.result" and event["cause"] is not None:
                mailbox.over(event["cause"])
            mailbox.position = event["seq"]
            yield event
        if events.more:
            mailbox.wake()
        if not await mailbox.wait(HEARTBEAT_SECONDS):
            yield None
