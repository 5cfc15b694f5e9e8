"""The event log: the truth about everything that happened and is to happen."""

from lightning.log.dispatch import Dispatch, wakeup, wakeups
from lightning.log.documents import public
from lightning.log.jumps import Jumps
from lightning.log.log import EventLog
from lightning.log.reader import Events
from lightning.log.verdict import Claimed, Ended, Later, Verdict, Void

__all__ = [
    "Claimed",
    "Dispatch",
    "Ended",
    "EventLog",
    "Events",
    "Jumps",
    "Later",
    "Verdict",
    "Void",
    "public",
    "wakeup",
    "wakeups",
]
