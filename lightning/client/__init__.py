"""The typed client of the HTTP API, blocking and asynchronous."""

from lightning.client.aio import AsyncClient
from lightning.client.answering import Piece, Restarted, answer_of
from lightning.client.chat import Chat
from lightning.client.errors import ClientError
from lightning.client.http import Client
from lightning.client.session_file import SessionFile
from lightning.client.shapes import (
    Answer,
    Conversation,
    ConversationPage,
    Delta,
    Event,
    EventPage,
    EventTree,
    EventWithOutputs,
    Fire,
    FirePage,
    MessagePage,
    Run,
    RunFrame,
    RunLog,
    RunMessage,
    RunMetric,
    RunPage,
    RunProgress,
    RunQuestion,
    RunResult,
    RunWithReport,
    Schedule,
    SchedulePage,
    TreeNode,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "Chat",
    "Client",
    "ClientError",
    "Conversation",
    "ConversationPage",
    "Delta",
    "Event",
    "EventPage",
    "EventTree",
    "EventWithOutputs",
    "Fire",
    "FirePage",
    "MessagePage",
    "Piece",
    "Restarted",
    "Run",
    "RunFrame",
    "RunLog",
    "RunMessage",
    "RunMetric",
    "RunPage",
    "RunProgress",
    "RunQuestion",
    "RunResult",
    "RunWithReport",
    "Schedule",
    "SchedulePage",
    "SessionFile",
    "TreeNode",
    "answer_of",
]
