"""The verdict on a storm: what was seen from outside the log, at the client and at the servers."""

import time
from collections import Counter
from dataclasses import dataclass, field

from lightning.client import Client, Event
from ops.chaos.installation import ModelServer
from ops.chaos.receiver import Receiver
from ops.chaos.runners import EmulatedContainers


@dataclass
class Verdict:
    """What was seen from outside.

    Parameters:
      accepted: Ids that the client was given with a 202, and what it had said.
      explained: How many calls those who were killed may have made again, at model and webhook each.
      problems: Everything that should not be; empty is the aim.
    """

    accepted: dict[str, str] = field(default_factory=dict[str, str])
    killed: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    explained: int = 0
    model_calls: int = 0
    posts: int = 0
    starts: int = 0
    repeated: int = 0
    seconds: float = 0.0

    def summary(self) -> str:
        """Say it in one line."""
        kills = ", ".join(f"{count} {name}" for name, count in sorted(Counter(self.killed).items()))
        verdict = "PASSED" if not self.problems else "FAILED: " + "; ".join(self.problems[:5])
        return (
            f"{len(self.accepted)} events in {self.seconds:.0f} s, killed {kills or 'nobody'},"
            f" {self.model_calls} model calls and {self.posts} webhook posts"
            f" ({self.repeated} repeated), {self.starts} container starts: {verdict}"
        )


def judge(
    client: Client,
    model: ModelServer,
    receiver: Receiver,
    containers: EmulatedContainers,
    verdict: Verdict,
    quiet_seconds: float,
) -> None:
    """Find everything that should not be.

    Parameters:
      client: Of the user whose events they are.
      model: Where calls are counted.
      receiver: Where posts of webhooks are counted.
      containers: Where starts of containers are counted.
      verdict: What is known; problems are added.
      quiet_seconds: How long it may take until every event is over.
    """
    found = _when_quiet(client, quiet_seconds)
    _judge_log(found, verdict)
    _judge_stream(client, found, verdict.problems)
    summary = model.control.get("/control/requests", params={"summary": 1}).json()
    verdict.model_calls, verdict.posts = summary["count"], len(receiver.posts)
    said = set(verdict.accepted.values())
    notices, tasks = set(filter(is_notice, said)), set(filter(is_task, said))
    _judge_calls("the model", Counter(summary["by_last_user_message"]), said - notices - tasks, verdict)
    posts = Counter(content for _, content in receiver.posts)
    _judge_calls("the webhook", posts, notices, verdict)
    if len(set(receiver.posts)) != len(posts):
        verdict.problems.append("a message was posted under several webhook-ids")
    verdict.starts = containers.deployments()
    if verdict.starts != len(tasks):
        verdict.problems.append(f"{verdict.starts} containers were started for {len(tasks)} tasks")


def is_notice(said: str) -> bool:
    """Tell whether a message goes to the webhook."""
    return said.startswith("notice")


def is_task(said: str) -> bool:
    """Tell whether a message is for an agent in a container; what is neither is a chat."""
    return said.startswith("task")


def _judge_log(found: list[Event], verdict: Verdict) -> None:
    problems = verdict.problems
    if [event["seq"] for event in found] != list(range(1, len(found) + 1)):
        problems.append("the places are not consecutive")
    restless = [event["id"] for event in found if event["state"] == "accepted"]
    if restless:
        problems.append(f"{len(restless)} events are not over, such as {restless[0]}")
    roots = {event["id"]: event for event in found if event["cause"] is None}
    if roots.keys() != verdict.accepted.keys():
        problems.append(f"{len(verdict.accepted.keys() ^ roots.keys())} events differ from those accepted")
    outputs: dict[str, list[Event]] = {}
    for event in found:
        if event["cause"] is not None:
            outputs.setdefault(event["cause"], []).append(event)
    for event_id, said in verdict.accepted.items():
        follow = [_followed(event) for event in outputs.get(event_id, [])]
        if follow != [_expected(said)]:
            problems.append(f"{event_id} ({said}) is followed by {follow}")
        if event_id in roots and roots[event_id]["state"] != "done":
            problems.append(f"{event_id} is {roots[event_id]['state']}: {roots[event_id]['error']}")


def _expected(said: str) -> str:
    """Tell what follows from a message, as `_followed` tells it."""
    if is_notice(said):
        return "webhook.delivery: done"
    return f'echo: "{said}"' if is_task(said) else f"You said: {said}"


def _followed(event: Event) -> str:
    if event["type"] == "llm.chat.response":
        return event["metadata"]["content"]
    if event["type"] == "worker.task.result" and event["metadata"]["status"] == "succeeded":
        return f"echo: {event['metadata']['output'].splitlines()[-1]}"
    return f"{event['type']}: {event['state']}"


def _when_quiet(client: Client, seconds: float) -> list[Event]:
    """Read the whole log as soon as nothing is accepted any more, or the time is over."""
    deadline = time.monotonic() + seconds
    while client.events(state="accepted", limit=1)["events"] and time.monotonic() < deadline:
        time.sleep(0.1)
    found: list[Event] = []
    after = 0
    while True:
        page = client.events(after=after, limit=200)
        found += page["events"]
        if page["next"] is None:
            return found
        after = page["next"]


def _judge_stream(client: Client, found: list[Event], problems: list[str]) -> None:
    streamed: list[str] = []
    for event in client.stream(after=0, timeout_seconds=30):
        streamed.append(event["id"])
        if len(streamed) == len(found):
            break
    if streamed != [event["id"] for event in found]:
        problems.append("the stream does not show every event once and in order")


def _judge_calls(whom: str, calls: Counter[str], said: set[str], verdict: Verdict) -> None:
    """Count the calls where they arrive: each message at least once, and no more than the kills explain."""
    repeated = sum(count - 1 for count in calls.values())
    verdict.repeated += repeated
    if missing := said - calls.keys():
        verdict.problems.append(f"{whom} never heard of {len(missing)} messages")
    if unknown := calls.keys() - said:
        verdict.problems.append(f"{whom} heard of {len(unknown)} messages that were not accepted")
    if repeated > verdict.explained:
        verdict.problems.append(f"{whom}: {repeated} calls were repeated; {verdict.explained} are explained")
