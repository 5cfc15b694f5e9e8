"""What the platform needs of Azure, as its code says it: `make docs` writes it down in `platform.json`."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).parent
PROCFILE: Final = _HERE.parent / "Procfile"

#: The process that is a client of the ingress: it may be left out, and needs nothing else.
CHAT: Final = "chat"


@cache
def platform() -> Mapping[str, Any]:
    """Give the queues, their properties, and the containers of the store."""
    return json.loads((_HERE / "platform.json").read_text())


@cache
def processes() -> Mapping[str, str]:
    """Give the processes of the Procfile and the command of each."""
    lines = (line.partition(":") for line in PROCFILE.read_text().splitlines() if line.strip())
    return {name.strip(): command.strip() for name, _, command in lines}
