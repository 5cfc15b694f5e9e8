"""Tools that read the repository of a conversation, and the one that writes to it."""

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints

from lightning.domain.repositories import Known
from lightning.domain.turns import Committed
from lightning.errors import NotFound
from lightning.metadata import Metadata
from lightning.repositories import Cause, Change, Repository
from lightning.tools.offer import MAX_ARGUMENTS_BYTES, MAX_RESULT_CHARS
from lightning.tools.port import Acted, Call, Effect, InvalidCall, Policy, Tool

#: Who makes the commits, a name for people.
AUTHOR: Final = "chat"

MAX_LISTED: Final = 500
MAX_MATCHES: Final = 100
MAX_LINE_CHARS: Final = 400

Path = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class ListFilesArguments(Metadata):
    """Which files."""

    prefix: Annotated[str, Field(max_length=1024, description="Only paths that begin so.")] = ""
    after: Annotated[str, Field(max_length=1024, description="Only paths behind this one.")] = ""


class ReadFileArguments(Metadata):
    """Which file, and from where on."""

    path: Path
    offset: Annotated[int, Field(ge=0, description="Characters to leave out at its beginning.")] = 0


class SearchFilesArguments(Metadata):
    """What to look for."""

    pattern: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    regex: Annotated[bool, Field(description="Read it as a POSIX extended regular expression.")] = False
    ignoreCase: bool = False  # noqa: N815 -- the wire's name


class FileWritten(Metadata):
    """One file."""

    path: Path
    content: Annotated[
        str | None,
        Field(max_length=MAX_ARGUMENTS_BYTES, description="All that it is to hold; null removes it."),
    ]


class WriteFilesArguments(Metadata):
    """What to write."""

    files: Annotated[list[FileWritten], Field(min_length=1, max_length=50)]
    message: Annotated[
        str, StringConstraints(min_length=1, max_length=2000), Field(description="What is changed, and why.")
    ]


class ListFiles(Tool):
    """Lists files."""

    name: ClassVar[str] = "list_files"
    description: ClassVar[str] = "List the files of the repository, in the order of their paths."
    arguments: ClassVar[type[Metadata]] = ListFilesArguments
    effect: ClassVar[Effect] = "nothing"
    policy: ClassVar[Policy] = "never"
    scope: ClassVar[str] = "repos:read"
    needs_repo: ClassVar[bool] = True

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Give a page of paths; see `Tool.act`."""
        asked: ListFilesArguments = arguments
        repository = await _repository(call)
        found = await repository.files(prefix=asked.prefix, after=asked.after, limit=MAX_LISTED)
        lines = [f"{each.path} ({each.kind}, {each.size} bytes)" for each in found.entries]
        if found.next is not None:
            lines.append(f"[there are more: ask with after {found.next!r}]")
        return Acted("\n".join(lines) or "There are no files.")


class ReadFile(Tool):
    """Reads a file."""

    name: ClassVar[str] = "read_file"
    description: ClassVar[str] = "Read a text file of the repository."
    arguments: ClassVar[type[Metadata]] = ReadFileArguments
    effect: ClassVar[Effect] = "nothing"
    policy: ClassVar[Policy] = "never"
    scope: ClassVar[str] = "repos:read"
    needs_repo: ClassVar[bool] = True

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Give a part of a file; see `Tool.act`."""
        asked: ReadFileArguments = arguments
        repository = await _repository(call)
        found = await repository.read(asked.path)
        if b"\0" in found.data:
            return Acted(f"It is no text file; it has {len(found.data)} bytes.")
        text = found.data.decode(errors="replace")
        part = text[asked.offset : asked.offset + MAX_RESULT_CHARS - 200]
        left = len(text) - asked.offset - len(part)
        more = f"\n[{left} characters more: ask with offset {asked.offset + len(part)}]" if left > 0 else ""
        return Acted(part + more or "The file is empty.")


class SearchFiles(Tool):
    """Looks for lines."""

    name: ClassVar[str] = "search_files"
    description: ClassVar[str] = "Find lines in the text files of the repository."
    arguments: ClassVar[type[Metadata]] = SearchFilesArguments
    effect: ClassVar[Effect] = "nothing"
    policy: ClassVar[Policy] = "never"
    scope: ClassVar[str] = "repos:read"
    needs_repo: ClassVar[bool] = True

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Give lines; see `Tool.act`."""
        asked: SearchFilesArguments = arguments
        repository = await _repository(call)
        found = await repository.search(asked.pattern, regex=asked.regex, ignore_case=asked.ignoreCase)
        shown = found.matches[:MAX_MATCHES]
        lines = [f"{each.path}:{each.line}: {each.text[:MAX_LINE_CHARS]}" for each in shown]
        if found.truncated or len(found.matches) > len(shown):
            lines.append("[there are more: look for something narrower]")
        return Acted("\n".join(lines) or "Nothing was found.")


class WriteFiles(Tool):
    """Writes and removes files."""

    name: ClassVar[str] = "write_files"
    description: ClassVar[str] = "Write or remove files of the repository, all of them as one commit."
    arguments: ClassVar[type[Metadata]] = WriteFilesArguments
    effect: ClassVar[Effect] = "commit"
    policy: ClassVar[Policy] = "first"
    scope: ClassVar[str] = "repos:write"
    needs_repo: ClassVar[bool] = True

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Make one commit; see `Tool.act`."""
        asked: WriteFilesArguments = arguments
        known = await _known(call)
        repository = call.parts.repositories.open(call.scope.user_id, known)
        done = await repository.commit(
            [
                Change(each.path, None if each.content is None else each.content.encode(errors="replace"))
                for each in asked.files
            ],
            message=asked.message,
            author=AUTHOR,
            cause=Cause(event=call.event_id, effect=call.effect_key),
        )
        made: Committed = {"repo": known.id, "commit": done.commit}
        return Acted(f"It is done, as commit {done.commit}.", commit=made)


async def _repository(call: Call) -> Repository:
    """Open the repository of a conversation to read it."""
    return call.parts.repositories.open_to_read(call.scope.user_id, await _known(call))


async def _known(call: Call) -> Known:
    """Find the repository of a conversation: no argument names another."""
    scope, repositories = call.scope, call.parts.repositories
    if scope.repo is None:
        raise InvalidCall("this conversation has no repository; its user may give it one")
    try:
        return await repositories.find(scope.user_id, scope.repo)
    except NotFound:
        raise InvalidCall(
            "the repository of this conversation is gone; its user may give it another"
        ) from None
