"""The format of git bundles, version 2 (gitformat-bundle): a header of refs, and a pack behind it."""

import re
from dataclasses import dataclass
from typing import Final

from lightning.errors import InvalidRequest
from lightning.repositories.git import BRANCH, COMMIT_ID
from lightning.repositories.port import NO_COMMIT

_SIGNATURE: Final = b"# v2 git bundle\n"
_MAX_HEADER_BYTES: Final = 1024 * 1024
_REF: Final = re.compile(r"HEAD|refs/[\x21-\x39\x3b-\x5a\x5f-\x7d/]{1,200}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a bundle says of itself.

    Parameters:
      needs: The commits that must be there already.
      refs: The commit of each ref.
    """

    needs: list[str]
    refs: dict[str, str]

    def chosen(self) -> tuple[str, str]:
        """Choose the ref to take over, and its commit: ``HEAD``, ``main``, ``master`` or the only branch.

        Raises:
          InvalidRequest: It is none of them (``invalid_bundle``).
        """
        branches = [ref for ref in self.refs if ref.startswith("refs/heads/")]
        for ref in ("HEAD", BRANCH, "refs/heads/master", *(branches if len(branches) == 1 else ())):
            if ref in self.refs:
                return ref, self.refs[ref]
        raise _invalid("it names no HEAD and no branch main; make it with git bundle create FILE HEAD main")


def written(pack: bytes, tip: str, without: str) -> bytes:
    """Put a header before a pack."""
    needs = "" if without == NO_COMMIT else f"-{without} \n"
    return _SIGNATURE + f"{needs}{tip} {BRANCH}\n{tip} HEAD\n\n".encode() + pack


def read_header(bundle: bytes) -> Header:
    """Read what a bundle says of itself.

    Raises:
      InvalidRequest: It is none, or not of this version (``invalid_bundle``).
    """
    head, end, pack = bundle[:_MAX_HEADER_BYTES].partition(b"\n\n")
    if not head.startswith(_SIGNATURE) or not end or not pack.startswith(b"PACK"):
        raise _invalid("it is no git bundle of version 2; make it with git bundle create FILE HEAD main")
    needs: list[str] = []
    refs: dict[str, str] = {}
    for line in head[len(_SIGNATURE) :].decode(errors="replace").split("\n"):
        if line.startswith("-"):
            needs.append(_id(line[1:41]))
        elif _REF.fullmatch(line[41:]) and line[40] == " ":
            refs[line[41:]] = _id(line[:40])
    return Header(needs, refs)


def _id(text: str) -> str:
    if COMMIT_ID.fullmatch(text) is None:
        raise _invalid("its header cannot be read")
    return text


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"the bundle cannot be taken: {reason}", code="invalid_bundle")
