"""Every tool that there is; a new one is a class and its line here."""

from collections.abc import Mapping
from typing import Final

from lightning.tools.files import ListFiles, ReadFile, SearchFiles, WriteFiles
from lightning.tools.people import AskApproval, ScheduleMessage, SendMessage
from lightning.tools.port import Tool
from lightning.tools.runs import ListRuns, RunAgent, RunAgents

_ALL: Final[tuple[Tool, ...]] = (
    ListFiles(),
    ReadFile(),
    SearchFiles(),
    WriteFiles(),
    RunAgent(),
    RunAgents(),
    ListRuns(),
    SendMessage(),
    ScheduleMessage(),
    AskApproval(),
)

TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in _ALL}
