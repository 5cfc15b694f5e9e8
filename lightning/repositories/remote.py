"""A repository that lives elsewhere, reached by git over https at the address that was checked, and no other.

The name is resolved here and checked, and git connects to what was checked (``http.curloptResolve``). Git
follows no redirect, uses no proxy, asks for nothing, and gets credentials by its environment, not by its
arguments.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lightning.errors import InvalidRequest, LightningError, Transient
from lightning.outbound import Guard, Resolve, SendError, SystemResolver, Target, checked_addresses
from lightning.outbound.guard import parse_address
from lightning.repositories.git import BRANCH, COMMIT_ID, Folder
from lightning.repositories.port import NO_COMMIT
from lightning.repositories.process import GitFailed, Output

_BRANCH_NAME: Final = re.compile(r"refs/heads/[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")

#: What git says where somebody else pushed first.
_OVERTAKEN: Final = (
    "non-fast-forward",
    "fetch first",
    "stale info",
    "cannot lock ref",
    "failed to update ref",
)

_DENIED: Final = ("Authentication failed", "could not read Username", "could not read Password", "403", "401")


class RemoteRefused(LightningError):
    """The server that a repository lives on does not let us."""

    code = "remote_refused"
    status = 409


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository lives.

    Parameters:
      url: Its URL, checked.
      target: The same, taken apart.
      login: Username and password, where the server asks for them.
    """

    url: str
    target: Target
    login: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch that is worked on there.

    Parameters:
      ref: Its full name.
      tip: Its newest commit; `NO_COMMIT` where there is none yet.
    """

    ref: str
    tip: str


class Remote:
    """Speaks with one server about one repository.

    Parameters:
      place: Where it lives.
      guard: Says which addresses are good.
      resolve: Gives the addresses of a name.
    """

    def __init__(self, place: Place, guard: Guard, resolve: Resolve | None = None) -> None:
        self._place = place
        self._guard = guard
        self._resolve = resolve or SystemResolver(1)

    async def branch(self, folder: Folder) -> Branch:
        """Ask what the newest commit is, of the branch that ``HEAD`` names there; else of ``main``.

        Raises:
          RemoteRefused: The server does not let us, or there is no such repository.
          Transient: It does not answer.
        """
        asked = ("ls-remote", "--symref", "--end-of-options", self._place.url, "HEAD", BRANCH)
        told = await self._git(folder, *asked)
        ref, tip, main = BRANCH, NO_COMMIT, NO_COMMIT
        for line in told.text.splitlines():
            value, _, name = line.partition("\t")
            if name == "HEAD" and value.startswith("ref: ") and _BRANCH_NAME.fullmatch(value[5:]):
                ref = value[5:]
            elif name == "HEAD" and COMMIT_ID.fullmatch(value):
                tip = value
            elif name == BRANCH and COMMIT_ID.fullmatch(value):
                main = value
        return Branch(BRANCH, main) if tip == NO_COMMIT else Branch(ref, tip)

    async def fetch(self, folder: Folder, branch: Branch, into: str) -> None:
        """Fetch a branch into a ref.

        Raises:
          InvalidRequest: It holds what must not be in a repository (``invalid_remote``).
          RemoteRefused: The server does not let us.
          Transient: It does not answer.
        """
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--end-of-options")
        await self._git(folder, "fetch", *options, self._place.url, f"+{branch.tip}:{into}")

    async def push(self, folder: Folder, branch: Branch, commit: str) -> bool:
        """Push a commit that follows the branch.

        Returns:
          Whether it is there; not where somebody else was first.

        Raises:
          RemoteRefused: The server does not let us.
          Transient: It does not answer: the commit may or may not be there.
        """
        options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--end-of-options")
        pushed = await self._git(
            folder, "push", *options, self._place.url, f"{commit}:{branch.ref}", statuses=(0, 1)
        )
        if pushed.status == 0:
            return True
        if any(word in pushed.text for word in _OVERTAKEN):
            return False
        raise RemoteRefused("the git server refuses the commit; see whether its branch is protected")

    async def _git(self, folder: Folder, *arguments: str, statuses: Sequence[int] = (0,)) -> Output:
        config = await self._config()
        try:
            return await folder.git.run(folder.path, *arguments, config=config, statuses=statuses)
        except GitFailed as error:
            raise _failure(error) from error

    async def _config(self) -> dict[str, str]:
        target = self._place.target
        try:
            found = await checked_addresses(self._guard, self._resolve, target.host, target.port)
        except SendError as error:
            if error.code == "address_refused":
                raise RemoteRefused(error.message, code="address_refused") from error
            raise Transient(error.message, code="remote_unreachable") from error
        config = {
            f"protocol.{target.scheme}.allow": "always",
            "http.lowSpeedLimit": "1000",
            "http.lowSpeedTime": "30",
        }
        if parse_address(target.host) is None:
            addresses = ",".join(f"[{each}]" if ":" in each else each for each in found)
            config["http.curloptResolve"] = f"{target.host}:{target.port}:{addresses}"
        if self._place.login is not None:
            login = base64.b64encode(":".join(self._place.login).encode()).decode()
            config["http.extraHeader"] = f"Authorization: Basic {login}"
        return config


def _failure(error: GitFailed) -> LightningError:
    said = error.said
    if "fsck" in said or "error: object" in said:
        message = "the repository holds what git must not take over; see git fsck there"
        return InvalidRequest(message, code="invalid_remote")
    if any(word in said for word in _DENIED):
        return RemoteRefused("the git server refuses; check the URL and the credentials")
    if "redirect" in said:
        return RemoteRefused("the git server redirects; register the URL that it leads to")
    if "not found" in said:
        return RemoteRefused("the git server has no such repository; check the URL")
    return Transient("the git server does not answer as one; try again later", code="remote_unreachable")
