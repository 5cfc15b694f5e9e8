"""The audit trail: what an event, or all of a user's events, caused, as the log and its documents tell it."""

from lightning.trail.record import COLUMNS, Record
from lightning.trail.trail import Trail, TrailPage

__all__ = ["COLUMNS", "Record", "Trail", "TrailPage"]
