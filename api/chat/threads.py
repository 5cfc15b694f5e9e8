"""Chainlit's data layer as a read of the platform's conversations: the chat keeps nothing itself.

Each method speaks as the user of the visit, so that what is somebody else's is not there. What Chainlit would
store (messages, steps, elements) stands in the log already.
"""

from typing import Final, cast

from chainlit.data.base import BaseDataLayer
from chainlit.element import Element, ElementDict
from chainlit.step import StepDict
from chainlit.types import Feedback, PageInfo, PaginatedResponse, Pagination, ThreadDict, ThreadFilter
from chainlit.user import PersistedUser, User

from api.chat import talk, visit
from api.chat.history import history
from lightning.client import ClientError, Conversation

#: So many conversations are looked through for a word at most.
_SEARCHED: Final = 200

_GONE: Final = (400, 404, 422)


class Threads(BaseDataLayer):
    """The threads of whoever asks."""

    async def get_user(self, identifier: str) -> PersistedUser | None:
        """Give the user of this visit."""
        if identifier != visit.session().id:
            return None
        return PersistedUser(id=identifier, createdAt="", identifier=identifier)

    async def create_user(self, user: User) -> PersistedUser | None:
        """Make no user: accounts are the platform's."""
        return PersistedUser(id=user.identifier, createdAt="", identifier=user.identifier)

    async def list_threads(
        self, pagination: Pagination, filters: ThreadFilter
    ) -> PaginatedResponse[ThreadDict]:
        """List conversations, the one that was last spoken in first."""
        word = (filters.search or "").casefold()
        query: dict[str, str | int] = {"limit": _SEARCHED if word else min(pagination.first, _SEARCHED)}
        if pagination.cursor:
            query["page"] = pagination.cursor
        page = await visit.client().conversations(**query)
        found = [each for each in page["conversations"] if word in each["title"].casefold()]
        more = None if word else page["next"]
        info = PageInfo(hasNextPage=more is not None, startCursor=pagination.cursor, endCursor=more)
        return PaginatedResponse(pageInfo=info, data=[_thread(each) for each in found])

    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        """Read a conversation with what was said in it; None if the user of this visit has no such one."""
        conversation = await _find(thread_id)
        if conversation is None:
            return None
        steps, elements = await history(visit.client(), conversation)
        return {**_thread(conversation), "steps": steps, "elements": elements}

    async def get_thread_author(self, thread_id: str) -> str:
        """Give the session that may see a thread; nobody's if its user may not."""
        return "" if await _find(thread_id) is None else visit.session().id

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, object] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        """Give a conversation another title, or begin it: so it is there when the page lists them next."""
        if user_id is not None:  # only where Chainlit tells of what was said first
            await talk.here().begin(name)
        elif name is not None:
            await visit.client().change_conversation(thread_id, title=name[:200])

    async def delete_thread(self, thread_id: str) -> None:
        """Have a conversation forgotten."""
        await visit.client().delete_conversation(thread_id)

    async def delete_feedback(self, feedback_id: str) -> bool:
        """Keep no feedback."""
        return False

    async def upsert_feedback(self, feedback: Feedback) -> str:
        """Keep no feedback."""
        return ""

    async def create_element(self, element: Element) -> None:
        """Leave it: files are in the repository."""

    async def get_element(self, thread_id: str, element_id: str) -> ElementDict | None:
        """Give none: elements come with their thread."""
        return None

    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        """Leave it."""

    async def create_step(self, step_dict: StepDict) -> None:
        """Leave it: what is said stands in the log."""

    async def update_step(self, step_dict: StepDict) -> None:
        """Leave it."""

    async def delete_step(self, step_id: str) -> None:
        """Leave it."""

    async def build_debug_url(self) -> str:
        """Give none."""
        return ""

    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        """Keep no favourites."""
        return []

    async def close(self) -> None:
        """Hold nothing."""


async def _find(thread_id: str) -> Conversation | None:
    try:
        return await visit.client().conversation(thread_id)
    except ClientError as error:
        if error.status in _GONE:
            return None
        raise


def _thread(conversation: Conversation) -> ThreadDict:
    session = visit.session().id
    return cast(
        "ThreadDict",
        {
            "id": conversation["id"],
            "createdAt": conversation["updatedAt"],
            "name": conversation["title"],
            "userId": session,
            "userIdentifier": session,
            "tags": [],
            "metadata": {},
            "steps": [],
            "elements": [],
        },
    )
