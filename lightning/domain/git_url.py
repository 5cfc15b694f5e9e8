"""URLs of git repositories that live elsewhere: https, to public hosts, and nothing that git may misread."""

import re
from typing import Final
from urllib.parse import unquote

from lightning.errors import InvalidEvent
from lightning.outbound import Guard, Target, read_url

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


def read_git_url(url: str, guard: Guard) -> Target:
    """Take the URL of a repository apart.

    Parameters:
      url: Such as ``https://git.example.com/team/notes.git``; credentials are given apart from it.
      guard: Who is exempt from the rules for hosts and schemes.

    Raises:
      InvalidEvent: It is not one that we would go to; ``code`` is ``invalid_url`` or, for an address that is
        not public, ``address_refused``.
    """
    target = read_url(url, guard, purpose="a repository")
    if "?" in url or "::" in url or _CONTROL.search(unquote(url)):
        message = "this URL cannot be a repository: it has no query, no :: and no control characters"
        raise InvalidEvent(message, code="invalid_url", pointer="/url")
    return target
