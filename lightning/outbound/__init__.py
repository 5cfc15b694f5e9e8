"""Requests to addresses that users choose: only to public ones, in bounded time and size."""

from lightning.outbound.courier import Courier, Result
from lightning.outbound.guard import Guard
from lightning.outbound.http import (
    Answer,
    Outbound,
    Resolve,
    SendError,
    SystemResolver,
    checked_addresses,
)
from lightning.outbound.lanes import Full, Lanes
from lightning.outbound.target import Target, read_url

__all__ = [
    "Answer",
    "Courier",
    "Full",
    "Guard",
    "Lanes",
    "Outbound",
    "Resolve",
    "Result",
    "SendError",
    "SystemResolver",
    "Target",
    "checked_addresses",
    "read_url",
]
