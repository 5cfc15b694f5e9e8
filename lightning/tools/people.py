"""Tools that reach people: a message, now or later, and a question."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.when import Policies, When, now_utc, with_room
from lightning.events import UserMessageMetadata
from lightning.metadata import Metadata
from lightning.telemetry import carrier
from lightning.tools.port import SOURCE, Acted, Asked, Call, Effect, Policy, Tool

Text = Annotated[str, StringConstraints(min_length=1, max_length=8000)]


class SendMessageArguments(Metadata):
    """What to tell the user."""

    content: Text


class ScheduleArguments(Metadata):
    """What is to be said, and when: exactly one of ``timestamp``, ``cron`` and ``every``."""

    content: Text
    to: Annotated[
        Literal["user", "conversation"],
        Field(description="`user` gets it as a message; `conversation` has you answer it here, then."),
    ] = "user"
    timestamp: Annotated[str | None, Field(description="Once, then (RFC 3339).")] = None
    cron: Annotated[str | None, Field(description="Five fields: minute, hour, day, month, weekday.")] = None
    every: Annotated[str | None, Field(description="An ISO 8601 duration such as PT15M.")] = None
    timezone: Annotated[str, Field(description="Whose clocks `cron` means (IANA).")] = "UTC"

    def when(self) -> When:
        """Read when it is to be said, as the API does."""
        return When.model_validate(self.model_dump(exclude={"content", "to"}, exclude_none=True))

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        try:
            when = self.when()
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise ValueError(first["msg"].removeprefix("Value error, ")) from None
        if when.timestamp is not None:
            with_room(when.timestamp)
        return self


class AskApprovalArguments(Metadata):
    """What the user is to agree to."""

    question: Text


class SendMessage(Tool):
    """Tells the user something."""

    name: ClassVar[str] = "send_message"
    description: ClassVar[str] = (
        "Send the user a message besides your answer, where they are told of messages."
    )
    arguments: ClassVar[type[Metadata]] = SendMessageArguments
    effect: ClassVar[Effect] = "event"
    policy: ClassVar[Policy] = "never"
    scope: ClassVar[str] = "events:write"

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Have a message follow; see `Tool.act`."""
        asked: SendMessageArguments = arguments
        return Acted(
            "It is sent.",
            Asked("user.message", UserMessageMetadata.model_validate({"content": asked.content})),
        )


class ScheduleMessage(Tool):
    """Has something said later."""

    name: ClassVar[str] = "schedule"
    description: ClassVar[str] = "Have a message sent later, once or over and over."
    arguments: ClassVar[type[Metadata]] = ScheduleArguments
    effect: ClassVar[Effect] = "schedule"
    policy: ClassVar[Policy] = "always"
    scope: ClassVar[str] = "schedules:write"

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Make a schedule under the effect key; see `Tool.act`."""
        asked: ScheduleArguments = arguments
        user_id, conversation = call.scope.user_id, call.scope.conversation_id
        event = Scheduled("user.message", SOURCE, {"content": asked.content})
        if asked.to == "conversation":
            said = {"content": asked.content, "conversationID": conversation}
            event = Scheduled("llm.chat", SOURCE, said)
        made = await call.parts.schedules.create(
            Schedule(
                id=call.effect_key,
                user_id=user_id,
                event=event,
                when=asked.when(),
                said_at=now_utc(),
                policies=Policies(),
                description="made by a model in a conversation",
                trace=carrier.current(),
                fingerprint=call.effect_key,
            )
        )
        await call.parts.handover.soon(made, now_utc())
        following = "" if made.next is None else f" It fires next at {made.next.isoformat()}."
        return Acted(f"The schedule {made.id} is made.{following}")


class AskApproval(Tool):
    """Asks the user whether they agree with something."""

    name: ClassVar[str] = "ask_approval"
    description: ClassVar[str] = (
        "Ask the user to agree with something before you go on. It permits nothing by itself."
    )
    arguments: ClassVar[type[Metadata]] = AskApprovalArguments
    effect: ClassVar[Effect] = "nothing"
    policy: ClassVar[Policy] = "always"
    scope: ClassVar[str] = "conversations:write"
    only_asks: ClassVar[bool] = True

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Say that they do: it is not called before; see `Tool.act`."""
        del call, arguments
        return Acted("The user agrees.")
