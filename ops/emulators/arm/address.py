"""What a request's path names.

Source: the paths of ``Microsoft.ContainerInstance`` in its REST reference; names are compared without case.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from ops.emulators.arm.errors import ArmError, outside_subset

Kind: TypeAlias = Literal["groups", "group", "action", "logs", "operation", "usages"]

PROVIDER: Final = "Microsoft.ContainerInstance"

_PREFIX: Final = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP: Final = (
    _PREFIX + rf"/resourceGroups/(?P<resource_group>[^/]+)/providers/{re.escape(PROVIDER)}/containerGroups"
)
_LOCATION: Final = _PREFIX + rf"/providers/{re.escape(PROVIDER)}/locations/(?P<location>[^/]+)"

_PATTERNS: Final[tuple[tuple[Kind, str], ...]] = (
    ("groups", _PREFIX + rf"/providers/{re.escape(PROVIDER)}/containerGroups"),
    ("groups", _GROUP),
    ("group", _GROUP + r"/(?P<name>[^/]+)"),
    ("action", _GROUP + r"/(?P<name>[^/]+)/(?P<action>start|stop|restart)"),
    ("logs", _GROUP + r"/(?P<name>[^/]+)/containers/(?P<container>[^/]+)/logs"),
    ("operation", _LOCATION + r"/operations/(?P<operation>[^/]+)"),
    ("usages", _LOCATION + r"/usages"),
)

_PATHS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS
)


@dataclass(frozen=True, slots=True)
class Address:
    """One path.

    Parameters:
      kind: What it names.
      subscription: The subscription.
      resource_group: The resource group; empty where the path has none.
      name: The container group.
      container: The container in it.
      action: What is to be done with the group.
      location: The region.
      operation: The id of an asynchronous operation.
    """

    kind: Kind
    subscription: str
    resource_group: str = ""
    name: str = ""
    container: str = ""
    action: str = ""
    location: str = ""
    operation: str = ""


def parse_path(path: str) -> Address:
    """Read a path.

    Raises:
      ArmError: It names nothing that is here.
    """
    for kind, pattern in _PATHS:
        if (match := pattern.fullmatch(path)) is not None:
            names = {name: unquote(text) for name, text in match.groupdict().items()}
            return Address(kind=kind, **names)
    if path.lower().startswith("/subscriptions/") and f"/providers/{PROVIDER}/".lower() in path.lower():
        raise outside_subset(f"the path {path}")
    raise ArmError(404, "InvalidResourceType", f"The path {path} names no resource type that is here.")
