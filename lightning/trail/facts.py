"""Tells what an event and the documents beside it say, fact by fact."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lightning.domain.approvals import ApprovalDocument, Standing
from lightning.domain.runs import RunDocument
from lightning.events import EventDocument, read_moment
from lightning.prices import Prices, price_of
from lightning.telemetry.redaction import Redactor
from lightning.trail.found import Found
from lightning.trail.record import Kind, Record

#: Characters of a detail.
MAX_DETAIL_CHARS: Final = 2_000

#: Who did what no person did.
PLATFORM: Final = "lightning"


@dataclass(frozen=True, slots=True)
class Facts:
    """Makes the records of events.

    Parameters:
      prices: What tokens cost.
      redactor: What must not get out.
    """

    prices: Prices
    redactor: Redactor

    def of(self, event: EventDocument, found: Found) -> Iterator[Record]:
        """Tell all that is known of an event, the event itself first."""
        yield self._event(event)
        yield from self._acts(event)
        yield from self._calls(event, found)
        yield from self._commits(event, found)
        if (run := found.run(event)) is not None and event["type"] == "worker.task":
            yield from self._run(event, run)
        if (approval := found.approval(event)) is not None:
            yield self._approval(event, approval, found.standings[approval["id"]])
        for attempt in found.attempts(event):
            yield self._delivery(event, attempt)

    def _record(self, event: EventDocument, kind: Kind, at: str | None, name: str, **facts: Any) -> Record:
        for each in ("by", "detail"):
            if facts.get(each) is not None:
                # cut last: half a secret would not be recognised
                facts[each] = self.redactor.text(facts[each])[:MAX_DETAIL_CHARS]
        return Record(
            at=at,
            kind=kind,
            userID=event["userID"],
            eventID=event["id"],
            seq=event["seq"],
            root=event["root"],
            cause=event["cause"],
            conversationID=event.get("conversationID"),
            name=self.redactor.text(name),
            **facts,
        )

    def _event(self, event: EventDocument) -> Record:
        ended, error = event.get("endedAt"), event["error"] or {}
        return self._record(
            event,
            "event",
            event["recordedAt"],
            event["type"],
            id=event.get("replayOf"),
            state=event["state"],
            by=event["source"],
            number=event.get("claims", event["attempts"]),
            endedAt=ended,
            seconds=None if ended is None else _seconds(event["recordedAt"], ended),
            error=error.get("code"),
            detail=error.get("message"),
        )

    def _acts(self, event: EventDocument) -> Iterator[Record]:
        for act in event.get("acts", []):
            yield self._record(
                event,
                act["act"],
                act["at"],
                event["type"],
                id=event.get("replayOf") if act["act"] == "replay" else None,
                by=act["by"] or PLATFORM,
            )

    def _calls(self, event: EventDocument, found: Found) -> Iterator[Record]:
        for reply in found.replies.get(event["id"], []):
            yield self._call(event, reply["createdAt"], reply["model"], reply["usage"])
        if event["type"] == "llm.chat.response":
            yield from self._last_call(event, found)
        if event["type"] == "worker.task":
            for model, asked in found.asked(event).items():
                usage = {"prompt_tokens": asked.given, "completion_tokens": asked.written}
                yield self._call(event, event["recordedAt"], model, usage, number=asked.calls)

    def _last_call(self, answer: EventDocument, found: Found) -> Iterator[Record]:
        """Tell of the call that an answer came from: its usage is that of all calls for the event."""
        said = answer["metadata"]
        if said.get("error") or said.get("waitsFor") or "model" not in said:
            return
        usage: dict[str, int] | None = said.get("usage")
        if usage is not None:
            before = [reply["usage"] or {} for reply in found.replies.get(answer["cause"] or "", [])]
            usage = {
                name: usage[name] - sum(each.get(name, 0) for each in before)
                for name in ("prompt_tokens", "completion_tokens")
            }
        yield self._call(answer, answer["recordedAt"], said["model"], usage)

    def _call(
        self, event: EventDocument, at: str, model: str, usage: dict[str, int] | None, number: int = 1
    ) -> Record:
        facts: dict[str, Any] = {"number": number}
        if usage is not None:
            given, written = usage["prompt_tokens"], usage["completion_tokens"]
            price = price_of(self.prices, model)
            facts |= {"inputTokens": given, "outputTokens": written}
            facts["dollars"] = None if price is None else round(price.of(given, written), 9)
        return self._record(event, "model_call", at, model, **facts)

    def _commits(self, event: EventDocument, found: Found) -> Iterator[Record]:
        for reply in found.replies.get(event["id"], []):
            for call in reply["calls"]:
                if (made := call.get("commit")) is not None:
                    at = reply["createdAt"]
                    yield self._record(event, "commit", at, made["repo"], id=made["commit"], by=call["name"])

    def _run(self, task: EventDocument, run: RunDocument) -> Iterator[Record]:
        outcome = run["outcome"]
        asked: dict[str, Any] = task["metadata"].get("resources") or {}
        over = None if task["state"] == "accepted" else task["error"] and task["error"]["code"]
        began, ended = run["startedAt"], run["endedAt"]
        yield self._record(
            task,
            "run",
            run["createdAt"] if began is None else _text(began),
            run["agent"] or run["image"] or "",
            id=run["id"],
            state=outcome["status"] if outcome is not None else over or run["stage"],
            number=run.get("resets", 0) + 1,
            endedAt=None if ended is None else _text(ended),
            seconds=None if began is None or ended is None else round(max(0.0, ended - began), 3),
            exitCode=None if outcome is None else outcome["exitCode"],
            error=None if outcome is None else outcome.get("error", {}).get("code"),
            detail=None if outcome is None else outcome["message"],
            **{name: asked[name] for name in ("cpu", "memoryMiB", "diskMiB") if name in asked},
        )
        workspace = run.get("workspace")
        if workspace is not None and workspace.get("commit") is not None:
            at = task.get("endedAt") or run["createdAt"]
            commit = workspace.get("commit")
            yield self._record(task, "commit", at, workspace["repo"], id=commit, by=f"run {run['id']}")

    def _approval(self, event: EventDocument, approval: ApprovalDocument, state: Standing) -> Record:
        by = {"approved": event["userID"], "refused": event["userID"], "expired": PLATFORM}.get(state)
        arguments = json.dumps(approval["arguments"], ensure_ascii=False)
        return self._record(
            event,
            "approval",
            approval["decidedAt"] or approval["createdAt"],
            approval["tool"],
            id=approval["id"],
            state=state,
            by=by,
            detail=f"{approval['hash']} {arguments}",
        )

    def _delivery(self, event: EventDocument, attempt: dict[str, Any]) -> Record:
        return self._record(
            event,
            "delivery",
            attempt["at"],
            event["metadata"].get("webhookID", ""),
            id=event["metadata"].get("eventID"),
            state="delivered" if attempt["error"] is None else "failed",
            number=attempt["number"],
            seconds=attempt["milliseconds"] / 1000,
            httpStatus=attempt["status"],
            error=attempt["error"],
            detail=attempt["message"],
        )


def _seconds(begin: str, end: str) -> float:
    return round(max(0.0, (read_moment(end) - read_moment(begin)).total_seconds()), 3)


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
