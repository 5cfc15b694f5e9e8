"""What the tools of a conversation work with, over the store of a test."""

from pathlib import Path

from actors.chat import ChatTools, ToolLimits
from lightning.domain.approvals import Approvals
from lightning.domain.handover import Handover
from lightning.domain.repositories import Repositories
from lightning.domain.runs import Runs
from lightning.domain.schedules import Schedules
from lightning.domain.turns import Turns
from lightning.log import Dispatch, EventLog
from lightning.outbound import Guard
from lightning.repositories import RepositoryStore
from lightning.sealing import Sealer
from lightning.storage import Storage
from lightning.tools import Parts


def tools_of(
    storage: Storage, log: EventLog, dispatch: Dispatch, data: Path, *, git_allow: str = "", **limits: float
) -> ChatTools:
    """Open the tools, as a worker does."""
    store = RepositoryStore(storage, data / "repos")
    repositories = Repositories(storage, store, Sealer(None, None), Guard.allowing(git_allow))
    parts = Parts(repositories, Runs(storage), Schedules(storage), Handover(dispatch))
    return ChatTools(Turns(storage), Approvals(storage, log), parts, ToolLimits(**limits))
