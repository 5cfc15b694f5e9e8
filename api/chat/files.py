"""Files on their way between a chat and the repository of its conversation."""

import asyncio
from pathlib import Path
from typing import Final

import structlog
from chainlit.context import context
from chainlit.element import ElementDict

from api.chat import shown, visit
from lightning.client import AsyncClient, ClientError, Conversation

#: The repository of conversations that begin in the chat.
REPOSITORY: Final = "chat"

#: What a message may bring, and what a file may have: as much as a repository takes.
MAX_FILES: Final = 10
MAX_FILE_MIB: Final = 8

#: Of a repository's commits, the newest are looked at for what answers have written.
COMMITS: Final = 10

#: Files of one commit that are shown beside an answer.
_SHOWN: Final = 10

_log = structlog.get_logger(__name__)


async def repository(client: AsyncClient) -> str | None:
    """Give the repository of the chat's conversations, made when it is first needed; None without git."""
    try:
        return (await client.create_repository(REPOSITORY))["id"]
    except ClientError as error:
        if error.status == 409:
            return (await client.repository(REPOSITORY))["id"]
        if error.code == "git_missing":
            return None
        raise


async def put(client: AsyncClient, repo: str, attached: list[tuple[str, Path]]) -> list[str]:
    """Write files that were attached, each as a commit: what was there before stays in the history.

    Parameters:
      client: Who speaks.
      repo: The repository.
      attached: Their names, and where they are.

    Returns:
      Their paths in the repository.

    Raises:
      ClientError: The repository takes none of such a name, or no more.
    """
    paths = [name.replace("\\", "/").rpartition("/")[2] for name, _ in attached]
    for path, (_, place) in zip(paths, attached, strict=True):
        content = await asyncio.to_thread(place.read_bytes)
        await client.write_file(repo, path, content, message=f"Attach {path}"[:200])
    return paths


async def changed(client: AsyncClient, thread: str, for_id: str, repo: str, commit: str) -> list[ElementDict]:
    """Show the files that a commit wrote, beside a message."""
    difference = await client.repository_diff(repo, at=commit)
    paths = [each["path"] for each in difference["files"] if each["status"] != "deleted"]
    return shown.file_elements(thread, for_id, repo, commit, paths[:_SHOWN])


async def show_new(conversation: Conversation | None, events: set[str], message_id: str | None) -> None:
    """Show the files that a turn has written, beside its answer.

    Parameters:
      conversation: Whose repository is looked at.
      events: The events of the turn.
      message_id: The answer; without one, nothing is shown.
    """
    if conversation is None or conversation["repo"] is None or message_id is None:
        return
    client, thread, repo = visit.client(), conversation["id"], conversation["repo"]
    try:
        commits = (await client.repository_log(repo, limit=COMMITS))["commits"]
        for commit in commits:
            if commit["eventID"] in events:
                for element in await changed(client, thread, message_id, repo, commit["id"]):
                    await context.emitter.send_element(element)
    except ClientError:  # the repository is gone, or elsewhere; the answer is there all the same
        _log.info("files_not_shown", conversation=thread, exc_info=True)
