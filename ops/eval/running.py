"""Runs one scenario on a platform, by its HTTP API alone."""

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from lightning.client import Client, ClientError, EventWithOutputs
from ops.eval.judging import Came
from ops.eval.scenario import USUAL_SECONDS, Scenario

SOURCE: Final = "lightning.eval"

#: A run may wait for room, and its end is noted some time after it.
_WAIT_SECONDS: Final = 120.0

#: A run that was told to end is waited for so long.
_END_SECONDS: Final = 20.0

_RESULT: Final = "worker.task.result"


def run(client: Client, scenario: Scenario, *, agent: str | None = None, model: str | None = None) -> Came:
    """Run a scenario in a repository of its own, which is deleted afterwards.

    Parameters:
      client: Who runs it.
      scenario: The scenario.
      agent: The agent, instead of its own.
      model: The model that the agent is told to ask; None: the platform's usual one.

    Raises:
      ClientError: The platform does not take it, or it is not over in time.
    """
    repository = f"eval-{scenario.name}"[:50].rstrip("-._") + f"-{secrets.token_hex(4)}"
    client.create_repository(repository)
    try:
        if scenario.files:
            given = [{"path": path, "text": text} for path, text in scenario.files.items()]
            client.commit_files(repository, message="Given.", files=given)
        event = _over(client, scenario, _task(scenario, repository, agent, model))
        return _came(client, event, repository)
    finally:
        with suppress(ClientError):
            client.delete_repository(repository)


def _task(scenario: Scenario, repository: str, agent: str | None, model: str | None) -> dict[str, Any]:
    prompt = scenario.prompt if model is None else {"prompt": scenario.prompt, "model": model}
    usual = {"network": "none", "timeoutSeconds": USUAL_SECONDS}
    return {**usual, **scenario.task, "agent": agent or scenario.agent, "input": prompt, "repo": repository}


def _over(client: Client, scenario: Scenario, task: Mapping[str, Any]) -> EventWithOutputs:
    event = client.send("worker.task", task, source=SOURCE)
    try:
        return client.wait(event, timeout_seconds=scenario.timeout_seconds + _WAIT_SECONDS)
    except BaseException:  # whoever gives up leaves no container behind
        with suppress(ClientError):
            client.cancel(event["id"])
            _wait_for_end(client, event["id"])
        raise


def _wait_for_end(client: Client, event_id: str) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        mine = [run for run in client.runs()["runs"] if run["taskID"] == event_id]
        if all(run["endedAt"] is not None for run in mine):
            return
        time.sleep(0.2)


def _came(client: Client, event: EventWithOutputs, repository: str) -> Came:
    result = next((each["metadata"] for each in event["outputs"] if each["type"] == _RESULT), None)
    if result is None:
        problem = event["error"]
        return Came(status="dead" if problem is None else problem["message"])
    run_id = result["runID"]
    has_commit = client.repository(repository).get("commit") is not None
    commits = client.repository_log(repository)["commits"] if has_commit else []
    return Came(
        status=result["status"],
        result=result.get("result"),
        files=_files(client, repository) if has_commit else {},
        events=tuple(each["type"] for each in client.events(root=event["id"])["events"]),
        log=_log(client, run_id),
        commits=sum(commit["runID"] == run_id for commit in commits),
        metrics={each["name"]: each["value"] for each in client.run(run_id)["metrics"]},
        seconds=result.get("ranSeconds"),
        run_id=run_id,
    )


def _files(client: Client, repository: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    after: str | None = ""
    while after is not None:
        page = client.repository_files(repository, after=after)
        for each in page["files"]:
            found[each["path"]] = client.read_file(repository, each["path"])
        after = page["next"]
    return found


def _log(client: Client, run_id: str) -> str:
    texts: list[str] = []
    offset = 0
    while (part := client.run_log(run_id, offset=offset))["text"]:
        texts.append(part["text"])
        offset = part["next"]
    return "".join(texts)
