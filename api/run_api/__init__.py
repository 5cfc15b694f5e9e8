"""The run API: what the code in a container may ask of the platform, with the token of its run alone.

It is served at the ingress, and by itself at a unix socket, to which the runs on this machine are led.
"""

from collections.abc import Sequence

from api.operation import Operation
from api.run_api import asking, completions, reports, spans, subtasks, task, workspace
from api.run_api.access import run_access

__all__ = ["ROUTES", "run_access"]

#: Every route of the run API; each asks for a run token (`Operation.for_runs`).
ROUTES: Sequence[Operation] = (
    *task.ROUTES,
    *reports.ROUTES,
    *asking.ROUTES,
    *subtasks.ROUTES,
    *workspace.ROUTES,
    *completions.ROUTES,
    *spans.ROUTES,
)
