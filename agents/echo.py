"""An agent that repeats its input, and says that it is one that does no more."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from agents.run_api import RunApi, RunApiError

TYPE_CHECKING = False  # `typing` takes long to load
if TYPE_CHECKING:
    from typing import Any


def run(task: Mapping[str, Any], api: RunApi | None) -> int:
    """Repeat the input of a task, in the log and as the result.

    Parameters:
      task: What ``LIGHTNING_TASK`` holds.
      api: The run API; None where there is none.

    Returns:
      The exit code.
    """
    sys.stdout.write("I am echo, an agent that only repeats its input:\n")
    sys.stdout.write(json.dumps(task.get("input"), ensure_ascii=False) + "\n")
    sys.stdout.flush()
    if api is not None:
        try:
            api.result(task.get("input"))
        except RunApiError as error:  # the log has it all the same
            sys.stderr.write(f"The result was not taken: {error}\n")
    return 0
