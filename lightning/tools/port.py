"""What a tool is."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol

from lightning.domain.handover import Handover
from lightning.domain.repositories import Repositories
from lightning.domain.runs import Runs
from lightning.domain.schedules import Schedules
from lightning.domain.turns import Committed
from lightning.errors import LightningError
from lightning.ids import derived_id
from lightning.metadata import Metadata
from lightning.tasks import Budget

#: Whether a person must agree before a tool acts: never, the first time in a conversation, or every time.
Policy = Literal["never", "first", "always"]

#: What a call leaves behind: nothing, or one thing that its effect key tells from all others.
Effect = Literal["nothing", "commit", "event", "schedule"]

SOURCE: Final = "lightning.chat"


class InvalidCall(LightningError):
    """The model asked for what cannot be had; it is told so, and may ask for something else."""

    code = "invalid_call"
    status = 422


@dataclass(frozen=True, slots=True)
class Scope:
    """What the calls of a conversation may touch, as its user has set it. No model can widen it.

    Parameters:
      user_id: Whose conversation.
      conversation_id: Which.
      repo: Id or name of its repository, if it has one.
      network: What a run that it starts may reach.
      budget: What each such run, and all that follows from it, may spend.
    """

    user_id: str
    conversation_id: str
    repo: str | None = None
    network: Literal["full", "none"] = "none"
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What tools work with."""

    repositories: Repositories
    runs: Runs
    schedules: Schedules
    handover: Handover


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool.

    Parameters:
      scope: What it may touch.
      parts: What it works with.
      event_id: The event that the turn began with.
      name: Its place in the turn: the number of the model's reply, and of the call in it.
    """

    scope: Scope
    parts: Parts
    event_id: str
    name: str

    @property
    def effect_key(self) -> str:
        """The name of what it leaves behind, the same however often it is made."""
        return derived_id(self.event_id, f"call-{self.name}")


@dataclass(frozen=True, slots=True)
class Asked:
    """An event that follows from a call."""

    type: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Acted:
    """What came of a call.

    Parameters:
      text: What the model is told.
      event: What follows from it, as an event.
      waits: Whether the model is told nothing before something answers that event.
      commit: The commit that it made, and in which repository.
    """

    text: str = ""
    event: Asked | None = None
    waits: bool = False
    commit: Committed | None = None


class Tool(Protocol):
    """Something that a model may do. It has no state.

    Whatever it leaves behind bears the call's effect key, so that a call that is made again after a crash
    leaves nothing twice.
    """

    name: ClassVar[str]

    #: For the model: when to use it.
    description: ClassVar[str]

    arguments: ClassVar[type[Metadata]]
    effect: ClassVar[Effect]

    #: What holds where the conversation says nothing.
    policy: ClassVar[Policy]

    #: What a service token must allow to give it to a model: who may not do it must not have a model do it.
    scope: ClassVar[str]

    #: Whether it is of no use without a repository.
    needs_repo: ClassVar[bool] = False

    #: Whether its policy cannot be another: asking is all that it does.
    only_asks: ClassVar[bool] = False

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Do it.

        Parameters:
          call: The call.
          arguments: Its arguments, of the tool's class.

        Raises:
          InvalidCall: It cannot be had; the model is told why.
          LightningError: As what it works with says. The model is told of what another attempt cannot help.
        """
        ...
