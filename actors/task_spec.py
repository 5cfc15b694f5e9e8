"""A task as the run that it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from lightning.containers import Limits, RunSpec
from lightning.domain.run_tokens import mint
from lightning.domain.runs import Run, RunDocument
from lightning.domain.tokens import TokenIssuer
from lightning.events import EventDocument
from lightning.tasks import TaskMetadata, told
from lightning.telemetry import carrier

#: Bytes of a run's output that are kept.
LOG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """How an agent is started in the runner's own system.

    Parameters:
      words: Program and arguments; the agent's name follows.
      environment: Variables that it needs.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class RunApi:
    """How runs reach the run API.

    Parameters:
      issuer: Signs their tokens.
      url: Where they find it.
      socket: What a sandbox leads that address to.
    """

    issuer: TokenIssuer
    url: str
    socket: Path | None = None

    def variables(self, run: RunDocument, timeout_seconds: float) -> dict[str, str]:
        """Give the variables by which a run finds it, and those by which well-known libraries do."""
        token = mint(self.issuer, run, timeout_seconds, carrier.current().get("traceparent"))
        return {
            "LIGHTNING_API_URL": self.url,
            "LIGHTNING_RUN_TOKEN": token,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": token,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{self.url}/otlp",
            # values are encoded as those of a URL (OpenTelemetry, "Specifying headers via environment")
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }


def spec_of(
    event: EventDocument, task: TaskMetadata, run: Run, agents: AgentCommand, api: RunApi | None = None
) -> RunSpec:
    """Say what is to be run.

    Raises:
      Permanent: No runner takes it (``run_refused``).
    """
    agent = task.agent
    command = task.command or [] if agent is None else [*agents.words, agent]
    needs = task.resources
    return RunSpec(
        name=run.name,
        command=command,
        image=task.image,
        # whoever may look at containers need not see what users give to their own
        secure_environment={
            **task.environment,
            **(agents.environment if agent is not None else {}),
            **_given(event, task, run, api),
        },
        files={path: text.encode() for path, text in task.files.items()},
        limits=Limits(
            cpu=needs.cpu,
            memory_mib=needs.memoryMiB,
            pids=needs.pids,
            disk_mib=needs.diskMiB,
            wall_seconds=task.timeoutSeconds,
            log_bytes=LOG_BYTES,
        ),
        network=task.network,
        api_socket=None if api is None else api.socket,
        # whoever may claim the event after us may start, end and remove the run
        start_by=None if event["claim"] is None else event["claim"]["until"],
        tags={"user": event["userID"], "event": event["id"]},
    )


def _given(event: EventDocument, task: TaskMetadata, run: Run, api: RunApi | None) -> dict[str, str]:
    """Give the variables by which a run learns what it is for."""
    traced = {name.upper(): value for name, value in carrier.current().items()}
    return {
        "LIGHTNING_TASK": orjson.dumps(told(event["id"], task.model_dump())).decode(),
        "LIGHTNING_RUN_ID": run.document["id"],
        **traced,
        **({} if api is None else api.variables(run.document, task.timeoutSeconds)),
    }
