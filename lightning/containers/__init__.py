"""Isolated containers in which agents run."""

from lightning.containers.port import (
    Limits,
    ListedRun,
    LogPortion,
    Network,
    Reason,
    Runner,
    RunSpec,
    RunStatus,
    State,
)

__all__ = [
    "Limits",
    "ListedRun",
    "LogPortion",
    "Network",
    "Reason",
    "RunSpec",
    "RunStatus",
    "Runner",
    "State",
]
