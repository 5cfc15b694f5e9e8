"""The event log: the truth about everything that happened and is to happen."""

from lightning.log.dispatch import Dispatch, wakeup
from lightning.log.documents import public
from lightning.log.log import Claimed, Ended, EventLog, Later, Verdict, Void

__all__ = ["Claimed", "Dispatch", "Ended", "EventLog", "Later", "Verdict", "Void", "public", "wakeup"]
