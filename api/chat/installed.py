"""Whether there is a Chainlit, which is an extra."""

from importlib.util import find_spec
from typing import Final

INSTALL: Final = (
    "the chat needs Chainlit, which is not installed: in a clone, run `make chat`; elsewhere, "
    "`pip install --require-hashes -r requirements-chat.lock`"
)


def is_installed() -> bool:
    """Tell whether there is one."""
    return find_spec("chainlit") is not None
