"""The event log: the truth about everything that happened and is to happen."""

from lightning.log.dispatch import Dispatch, wakeup, wakeups
from lightning.log.documents import public
from lightning.log.log import EventLog
from lightning.log.verdict import Claimed, Ended, Later, Verdict, Void

__all__ = [
    "Claimed",
    "Dispatch",
    "Ended",
    "EventLog",
    "Later",
    "Verdict",
    "Void",
    "public",
    "wakeup",
    "wakeups",
]
