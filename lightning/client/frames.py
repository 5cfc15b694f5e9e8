"""The frames of `/api/stream`: events, which have a place in the log, and live frames, which have none."""

import json
from collections.abc import Mapping
from typing import Any, cast

import httpx2

from lightning.client import requests
from lightning.client.errors import ClientError
from lightning.client.requests import Request
from lightning.client.shapes import Delta, Event, Frame, RunFrame, RunLog

#: The platform pings every 15 seconds; a connection that is silent for so long is dead.
SILENCE_SECONDS = 45.0

#: Behind every event (the largest ``seq`` that the platform takes): from there on only deltas come.
BEYOND = 2**53

#: An answer of a megabyte, as JSON.
MAX_FRAME_BYTES = 8 * 1024 * 1024


def read(frame: httpx2.ServerSentEvent) -> Frame | None:
    """Read a frame.

    Returns:
      None for a frame that says nothing, or something that this client does not know of.

    Raises:
      ClientError: It is not what the platform sends; a new connection may be better.
    """
    if not frame.data:
        return None
    try:
        data = json.loads(frame.data)
        if frame.event == "delta":
            return Delta(data["event"], data["attempt"], data["offset"], data["text"])
        return cast("Event", data) if "seq" in data else _of_run(frame.event, data)
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"the stream holds an unreadable {frame.event}", temporary=True) from error


def _of_run(kind: str, data: Mapping[str, Any]) -> RunFrame | None:
    match kind:
        case "run":
            return RunFrame(kind, data["run"], data["task"], data["status"])
        case "log":
            return RunFrame(kind, data["run"], data["task"], data["text"], offset=data["offset"])
        case "progress":
            return RunFrame(kind, data["run"], data["task"], data["message"], percent=data["percent"])
        case _:
            return None


def read_log(frame: httpx2.ServerSentEvent) -> RunLog | None:
    """Read a frame of the log of a run; None for one that says nothing.

    Raises:
      ClientError: It is not what the platform sends.
    """
    if not frame.data:
        return None
    try:
        data = json.loads(frame.data)
    except ValueError as error:
        raise ClientError(f"the stream holds an unreadable {frame.event}", temporary=True) from error
    return cast("RunLog", data)


class Place:
    """How far a log has been followed, over as many connections as it takes.

    Parameters:
      after: The ``seq`` to begin behind.
      live: Whether answers are followed too while they are written, and runs while they go on.
    """

    def __init__(self, after: int, *, live: bool = False) -> None:
        self.after = after
        self._live = live

    def request(self) -> Request:
        """Follow on from here."""
        return requests.stream(self.after, deltas=self._live)

    def passes(self, frame: Frame) -> Event | None:
        """Give the event of a frame if it is the next; none is seen twice."""
        if isinstance(frame, Delta | RunFrame) or frame["seq"] <= self.after:
            return None
        self.after = frame["seq"]
        return frame


def ended() -> ClientError:
    """Say that the platform closed the stream, as it does when it stops."""
    return ClientError("the stream ended", temporary=True)
