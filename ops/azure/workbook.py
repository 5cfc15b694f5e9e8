"""The workbook: the questions of `ops/kql`, one below the other, in the form of Azure's own editor."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

FILE: Final = "ops/azure/operations.workbook.json"

QUERIES: Final = Path(__file__).parents[1] / "kql"

SCHEMA: Final = "https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json"

#: A question that names no time looks back as far as Application Insights keeps telemetry, for what is asked.
_FARTHEST: Final = timedelta(days=90)

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}

#: What stands in a question for the id that is asked about.
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of operators.

    Parameters:
      name: That of its file.
      title: As people ask it.
      chart: How its answer is drawn; none: as a table.
    """

    name: str
    title: str
    chart: Mapping[str, Any] | None = None

    def query(self) -> str:
        """Read what it asks, with the workbook's fields in the place of the ids that it asks about."""
        text = (QUERIES / f"{self.name}.kql").read_text()
        return re.sub(
            rf'let (event|user) = "{_NOBODY}";', lambda it: f'let {it[1]} = "{{{it[1].title()}}}";', text
        )


_LAG: Final = {"xAxis": "timestamp", "yAxis": ["p95"], "group": "queue"}

QUESTIONS: Final = (
    Question("queue-lag", "How long do messages wait?", _LAG),
    Question("failures-by-code", "What fails?"),
    Question("retry-storms", "What is tried again and again?"),
    Question("dead-events", "What was given up?"),
    Question("tokens-and-cost", "What do models take, and what does it cost?"),
    Question("container-failures", "Which agents run out of memory or of time?"),
    Question("cold-starts", "How long do runs take to start?"),
    Question("late-ticks", "Which schedules fired late, or not at all?"),
    Question("one-request", "What happened to this event?"),
    Question("what-a-user-triggered", "What did this user set off?"),
)


def workbook_files() -> dict[str, str]:
    """Give the text of the workbook, by its path in the repository."""
    content = {
        "version": "Notebook/1.0",
        "items": [_text(), _fields(), *(_item(question) for question in QUESTIONS)],
        "isLocked": False,
        "$schema": SCHEMA,
    }
    return {FILE: json.dumps(content, indent=2) + "\n"}


def _text() -> dict[str, Any]:
    said = "## Lightning\n\nThe questions of operators; `docs/questions.md` says how to read the answers."
    return {"type": 1, "content": {"json": said}, "name": "about"}


def _fields() -> dict[str, Any]:
    fields = [
        {
            "id": f"{place:08}-0000-0000-0000-000000000000",
            "version": "KqlParameterItem/1.0",
            "name": name,
            "label": label,
            "type": 1,
            "value": "",
        }
        for place, (name, label) in enumerate((("Event", "Id of an event"), ("User", "Id of a user")), 1)
    ]
    content = {
        "version": "KqlParameterItem/1.0",
        "parameters": fields,
        "style": "above",
        "queryType": 0,
        "resourceType": "microsoft.insights/components",
    }
    return {"type": 9, "content": content, "name": "asked about"}


def _item(question: Question) -> dict[str, Any]:
    query = question.query()
    drawn = (
        {"visualization": "table"}
        if question.chart is None
        else {"visualization": "timechart", "chartSettings": question.chart}
    )
    content = {
        "version": "KqlItem/1.0",
        "query": query,
        "size": 0,
        "title": question.title,
        "noDataMessage": "Nothing.",
        # else the portal would look back a day, whatever the question says
        "timeContext": {"durationMs": _looks_back(query) // timedelta(milliseconds=1)},
        "queryType": 0,
        "resourceType": "microsoft.insights/components",
        **drawn,
    }
    return {"type": 3, "content": content, "name": question.name}


def _looks_back(query: str) -> timedelta:
    """Read how far back a question looks."""
    found = [
        timedelta(**{_UNITS[unit]: int(number)}) for number, unit in re.findall(r"ago\((\d+)([mhd])\)", query)
    ]
    return max(found, default=_FARTHEST)
