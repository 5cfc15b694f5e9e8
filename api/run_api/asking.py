"""What a run asks its user, and what the user says to it."""

import asyncio
from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import platform, respond, whole_number
from api.run_api.access import read_form, run_access
from lightning.domain.run_reports import MessageToRun, Question
from lightning.domain.run_tokens import RunAccess
from lightning.errors import Unauthorized
from lightning.events import Draft, now_text
from lightning.ids import derived_id, new_id
from lightning.telemetry import carrier

#: Nobody is kept waiting longer for a message.
MAX_WAIT_SECONDS = 20

#: While somebody waits, the store is asked so often: the message may have come to another ingress.
LOOK_SECONDS = 1.0

SOURCE = "lightning.runs"

Key = Annotated[
    str | None,
    StringConstraints(min_length=1, max_length=128),
    Field(description="A key of the sender's own: the same under it again is no new one."),
]


class QuestionForm(BaseModel):
    """What a run asks its user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Annotated[
        str, StringConstraints(min_length=1, max_length=1000), Field(examples=["Which branch shall I take?"])
    ]
    options: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=100)]],
        Field(max_length=10, description="Answers to choose from.", examples=[["main", "next"]]),
    ] = []
    key: Key = None


class QuestionShown(BaseModel):
    """What a run asks its user."""

    id: str
    at: Annotated[str, Field(description="When it was asked (RFC 3339).")]
    question: str
    options: list[str]


class MessageShown(BaseModel):
    """What a user says to a run."""

    number: Annotated[int, Field(description="Counts the messages to the run from 1.")]
    at: Annotated[str, Field(description="When it was said (RFC 3339).")]
    content: str
    questionID: Annotated[str | None, Field(description="The question that it answers.")]  # noqa: N815


class MessagesShown(BaseModel):
    """Messages to a run, in their order; ``next`` is the ``after`` to ask for further ones."""

    messages: list[MessageShown]
    next: int


class Place(BaseModel):
    """Which messages, and whether to wait for one."""

    after: Annotated[int, Field(ge=0, le=2**31, description="The number to begin behind.")] = 0
    wait: Annotated[
        int, Field(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for one, if there is none.")
    ] = 0


async def post_question(request: Request) -> Response:
    """Ask the user something.

    The user is told by a `user.message`. What they answer with `POST /api/runs/{id}/messages` is among the
    messages to the run.
    """
    access = await run_access(request)
    parts = platform(request)
    form = await read_form(request, QuestionForm)
    asked = derived_id(access.run["id"], f"question {form.key or new_id()}")
    noted = await parts.run_reports.ask(access.run, asked, form.question, form.options)
    await parts.dispatch.follow(access.task, _told(access, noted))
    return respond(noted, 201)


async def get_messages(request: Request) -> Response:
    """Give the messages to the run behind a place, and wait a while for one if there is none.

    Who waits is answered 401 as soon as the run is over or cancelled.
    """
    access = await run_access(request)
    after = whole_number(request, "after", 0, highest=2**31)
    wait = whole_number(request, "wait", 0, highest=MAX_WAIT_SECONDS)
    found = await _messages(request, access, after, wait)
    shown = [message_shown(each) for each in found]
    return respond({"messages": shown, "next": found[-1]["number"] if found else after})


def message_shown(message: MessageToRun) -> dict[str, object]:
    """Give the form in which people and runs see a message."""
    return {name: message[name] for name in ("number", "at", "content", "questionID")}


async def _messages(request: Request, access: RunAccess, after: int, wait: int) -> list[MessageToRun]:
    parts = platform(request)
    now = asyncio.get_running_loop().time
    until = now() + wait
    with parts.hub.reader(access.user_id) as news:
        while True:
            news.clear()
            report = await parts.run_reports.read(access.run)
            found = [each for each in report["messages"] if each["number"] > after]
            if found or now() >= until or parts.stopping:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, until - now())):
                    await news.wait()
            if not await parts.run_tokens.still_good(access):
                raise Unauthorized("the run is over", code="invalid_token")


def _told(access: RunAccess, question: Question) -> Draft:
    lines = [question["question"], *(f"- {option}" for option in question["options"])]
    return Draft(
        id=derived_id(access.task["id"], f"asks {question['id']}"),
        type="user.message",
        source=SOURCE,
        metadata={
            "content": "\n".join(lines),
            "runID": access.run["id"],
            "questionID": question["id"],
        },
        timestamp=now_text(),
        trace=carrier.current() or access.task["trace"],
    )


ROUTES = (
    Operation(
        "POST",
        "/run/questions",
        post_question,
        summary="Ask the user something.",
        scope=None,
        for_runs=True,
        tag="run",
        body=QuestionForm,
        answers={201: QuestionShown},
        problems={409: ("too_many_questions", "id_taken")},
    ),
    Operation(
        "GET",
        "/run/messages",
        get_messages,
        summary="Give what the user has said to the run.",
        scope=None,
        for_runs=True,
        tag="run",
        query=Place,
        answers={200: MessagesShown},
    ),
)
