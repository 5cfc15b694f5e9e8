"""What a container group of Azure Container Instances says about its run.

Source: "Azure Container Instances states". "Succeeded" as a provisioning state speaks of the deployment only;
how the command ended is in the container's current state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast

from azure.mgmt.containerinstance.models import ContainerGroup

from lightning.containers.aci_group import ASKED_TAG, ENDED_TAG, MEMORY_TAG, WALL_TAG
from lightning.containers.port import Reason, RunStatus

#: Why the platform ends a run; kept as the group's tag, so that any process can say it afterwards.
Ending: TypeAlias = Literal["stopped", "timeout", "unstarted"]

#: Azure itself gives a deployment up after 30 minutes; a run that waits so long has been forgotten before.
START_SECONDS: Final = 900.0

#: So often an image is pulled in vain before it counts as missing; Azure goes on for longer.
PULL_ATTEMPTS: Final = 3

#: Exit codes that say which signal ended the command: 128 and its number.
_SIGNALS: Final = range(129, 193)

_ENDINGS: Final[Mapping[Ending, tuple[Reason, str]]] = {
    "stopped": ("stopped", "The run was stopped."),
    "timeout": ("timeout", "The run took longer than the {wall} seconds it was allowed, and was stopped."),
    "unstarted": ("launcher_lost", f"Azure did not start the run within {START_SECONDS:.0f} seconds."),
}

_MEMORY_SPENT: Final = "The run needed more than the {memory} MiB of memory it was allowed, and was killed."


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service says of a group.

    Parameters:
      image: The image of its container.
      tags: Its tags.
      provisioning: How the last operation on it went.
      state: The state of the group as such.
      current: The state of its container; empty before there is any.
      events: What happened to group and container, in the service's words.
    """

    image: str
    tags: Mapping[str, str]
    provisioning: str
    state: str
    current: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, group: ContainerGroup) -> "Seen":
        """Read a group as it came: the SDK's own types do not know what only the service writes."""
        body = cast("dict[str, Any]", group.serialize(keep_readonly=True))
        properties: dict[str, Any] = body["properties"]
        container: dict[str, Any] = properties["containers"][0]["properties"]
        view: dict[str, Any] = properties.get("instanceView") or {}
        own: dict[str, Any] = container.get("instanceView") or {}
        return cls(
            image=container["image"],
            tags=body.get("tags") or {},
            provisioning=properties.get("provisioningState", ""),
            state=view.get("state", ""),
            current=own.get("currentState") or {},
            events=[*(view.get("events") or ()), *(own.get("events") or ())],
        )

    def failed_pulls(self) -> int:
        """Count how often its image could not be pulled."""
        return sum(
            int(event.get("count", 1))
            for event in self.events
            if event.get("name") == "Failed" and "pull" in str(event.get("message")).lower()
        )


def status_of(seen: Seen) -> RunStatus:
    """Say where the run of a group stands."""
    current, ending = seen.current, _ending(seen)
    if seen.state == "Stopped":
        return _ended_by_us(seen, ending or "stopped")
    if current.get("state") == "Terminated":
        killed = current.get("exitCode") in _SIGNALS
        return _ended_by_us(seen, ending) if ending and killed else _ended_by_itself(seen)
    if seen.provisioning == "Failed" or seen.failed_pulls() >= PULL_ATTEMPTS:
        return _never_ran(seen)
    if current.get("state") == "Running":
        return RunStatus("running", message="It runs.", started_at=_seconds(current.get("startTime")))
    if ending:  # it cannot be stopped yet, but nobody waits for it any more
        return _ended_by_us(seen, ending)
    return RunStatus("pending", message="Azure is starting it.")


def overdue(seen: Seen, status: RunStatus, now: float) -> Ending | None:
    """Say why a run must be ended now, or has been told to end and has not; None: it need not.

    Container Instances know no limit of time, so whoever asks about a run enforces it.

    Parameters:
      seen: What the service says.
      status: What that means.
      now: The time, in seconds since 1970.
    """
    over = seen.state == "Stopped" or seen.current.get("state") == "Terminated"
    if not over and (ending := _ending(seen)) is not None:
        return ending
    if status.ended:
        return None
    if status.state == "running":
        began, allowed = status.started_at, _number(seen.tags.get(WALL_TAG))
        late = began is not None and allowed is not None and now - began > allowed
        return "timeout" if late else None
    asked = _number(seen.tags.get(ASKED_TAG))
    return "unstarted" if asked is not None and now - asked > START_SECONDS else None


def _ending(seen: Seen) -> Ending | None:
    word = seen.tags.get(ENDED_TAG)
    return word if word in _ENDINGS else None


def _ended_by_us(seen: Seen, ending: Ending) -> RunStatus:
    current = seen.current
    reason, message = _ENDINGS[ending]
    return RunStatus(
        "failed",
        reason,
        exit_code=current.get("exitCode"),
        message=message.format(wall=seen.tags.get(WALL_TAG)),
        started_at=_seconds(current.get("startTime")),
        ended_at=_seconds(current.get("finishTime")),
    )


def _ended_by_itself(seen: Seen) -> RunStatus:
    current = seen.current
    code: int | None = current.get("exitCode")
    reason: Reason = "exit"
    message = f"The command ended with exit code {code}."
    if current.get("detailStatus") == "OOMKilled":
        reason, message = "out_of_memory", _MEMORY_SPENT.format(memory=seen.tags.get(MEMORY_TAG))
    elif code is not None and code in _SIGNALS:
        reason, message = "killed", f"Signal {code - 128} ended the command."
    return RunStatus(
        "succeeded" if code == 0 else "failed",
        reason,
        exit_code=code,
        message=message,
        started_at=_seconds(current.get("startTime")),
        ended_at=_seconds(current.get("finishTime")),
    )


def _never_ran(seen: Seen) -> RunStatus:
    if seen.failed_pulls():
        message = f"The image {seen.image} cannot be pulled; check its name and ACI_REGISTRY_*."
        return RunStatus("failed", "missing_image", message=message)
    said = [str(event.get("message")) for event in seen.events if event.get("type") == "Warning"]
    message = f"Azure could not start the run: {said[-1] if said else 'it does not say why'}"
    return RunStatus("failed", "launcher_lost", message=message[:500])


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
