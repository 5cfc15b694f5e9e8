"""What the user of a conversation lets its model do: tools, a repository, and how far its runs may go."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request

from api.requests import check_scope, platform
from lightning.domain.tokens import Claims
from lightning.errors import InvalidEvent, NotFound
from lightning.log.turns import ToolGrant
from lightning.tasks import Budget
from lightning.tools import TOOLS, Policy

MAX_TOOLS: Final = 32


def _known(name: str) -> str:
    if name not in TOOLS:
        raise ValueError(f"there is no such tool; there are {', '.join(TOOLS)}")
    return name


def _each_once(tools: list["ToolGiven"]) -> list["ToolGiven"]:
    if len({each.name for each in tools}) < len(tools):
        raise ValueError("a tool is named twice")
    return tools


class ToolGiven(BaseModel):
    """A tool for the model of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        AfterValidator(_known),
        Field(description=f"One of {', '.join(f'`{name}`' for name in TOOLS)}.", examples=["list_runs"]),
    ]
    approval: Annotated[
        Policy | None,
        Field(
            description="Whether you must agree before it acts: `never`, the `first` time in this "
            "conversation, or `always`. Left out, it is as the tool is usually used: `first` for "
            "`write_files`, `run_agent` and `run_agents`, `always` for `schedule` and `ask_approval`, else "
            "`never`."
        ),
    ] = None


class ToolShown(BaseModel):
    """A tool of a conversation, and when its user must agree."""

    name: str
    approval: Policy


class Permissions(BaseModel):
    """What a model may do in a conversation. Only its user sets it; nothing that is said changes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tools: Annotated[
        Annotated[list[ToolGiven], Field(max_length=MAX_TOOLS), AfterValidator(_each_once)] | None,
        Field(description="What its model may call; it has no tools otherwise."),
    ] = None
    repo: Annotated[
        str | None,
        StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        Field(
            description="Id or name of the repository that its tools read and write; they know no other.",
            examples=[None],
        ),
    ] = None
    network: Annotated[
        Literal["full", "none"] | None,
        Field(description="What the runs may reach that its model starts; `none` otherwise."),
    ] = None
    budget: Annotated[
        Budget | None,
        Field(description="What each such run, and all that follows from it, may spend."),
    ] = None


async def properties_of(request: Request, claims: Claims, given: Permissions) -> dict[str, Any]:
    """Give permissions as they are written down.

    Raises:
      Forbidden: A service token gives a tool that does what it may not do itself (``scope_missing``).
      InvalidEvent: There is no such repository (``unknown_repository``).
    """
    found: dict[str, Any] = given.model_dump(mode="json", exclude_unset=True)
    if given.tools is not None:
        for each in given.tools:
            check_scope(claims, TOOLS[each.name].scope)
        found["tools"] = [_grant(each) for each in given.tools]
    if given.budget is not None:
        found["budget"] = given.budget.model_dump(mode="json", exclude_none=True)
    if given.repo is not None:
        try:
            known = await platform(request).repositories.find(claims.subject, given.repo)
        except NotFound:
            message = "you have no such repository; POST /api/repos makes one"
            raise InvalidEvent(message, code="unknown_repository", pointer="/repo") from None
        # by its id: another one may have the name one day
        found["repo"] = known.id
    return found


def _grant(given: ToolGiven) -> ToolGrant:
    tool = TOOLS[given.name]
    approval = tool.policy if given.approval is None or tool.only_asks else given.approval
    return {"name": given.name, "approval": approval}
