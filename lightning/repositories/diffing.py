"""What two trees differ in, for people to read."""

import re
from typing import Final

from lightning.repositories.content import Changed, Diff
from lightning.repositories.git import Folder
from lightning.repositories.port import NO_COMMIT

MAX_PATCH_BYTES: Final = 256 * 1024

_MAX_NAMES_BYTES: Final = 32 * 1024 * 1024

_RAW: Final = re.compile(r":[0-7]{6} [0-7]{6} [0-9a-f]{40} [0-9a-f]{40} ([A-Z])[0-9]*")

_PLAIN: Final = ("-r", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")


async def diff(folder: Folder, base: str, commit: str) -> Diff:
    """Tell what two commits differ in; see `Repository.diff`."""
    # in the midst of a history from outside there may be more than git can bear
    for each in (base, commit):
        await folder.entries(each)
    trees = [await folder.tree_of(base), await folder.tree_of(commit)]
    names = await folder.git.run(
        folder.path, *("diff-tree", *_PLAIN, "-z", "--raw", "--no-abbrev", *trees), max_bytes=_MAX_NAMES_BYTES
    )
    patch = await folder.git.run(
        folder.path, *("diff-tree", *_PLAIN, "--patch", *trees), max_bytes=MAX_PATCH_BYTES, cut=True
    )
    return Diff(base, commit, _changed(names.text.split("\0")), patch.text, patch.truncated)


async def first_parent(folder: Folder, commit: str) -> str:
    """Give the commit that another follows; `NO_COMMIT` for the first one."""
    if commit == NO_COMMIT:
        return NO_COMMIT
    told = await folder.git.run(folder.path, "rev-list", "--parents", "--max-count=1", commit, "--")
    return [*told.text.split(), NO_COMMIT][1]


def _changed(parts: list[str]) -> list[Changed]:
    found: list[Changed] = []
    rest = iter(parts)
    for part in rest:
        match = _RAW.fullmatch(part)
        if match is None:
            continue
        path = next(rest)
        match match[1]:
            case "A":
                found.append(Changed(path, "added", None))
            case "D":
                found.append(Changed(path, "deleted", None))
            case "R":
                found.append(Changed(next(rest), "renamed", path))
            case "T":
                found.append(Changed(path, "retyped", None))
            case _:
                found.append(Changed(path, "changed", None))
    return found
