"""`lightning doctor --azure`: whether an installation on Azure can work, as who asks here.

Each part has a file; what it makes for its looking, it removes.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final

from lightning.settings import Settings
from ops.checkup import app_settings, clock, containers, model, queues, store, telemetry
from ops.checkup.check import Check, Part, carry_out

__all__ = ["Check", "examine"]

#: The longest that a part may take; Container Instances take a minute to begin, and more to pull an image.
SECONDS: Final = 60.0
CONTAINER_SECONDS: Final = 300.0

_NETWORK: Final = "is the network open from here, and the address right? else ask again with --seconds"
_PARTS: Final[dict[str, Callable[[Settings], AsyncIterator[Check]]]] = {
    "settings": app_settings.look,
    "clock": clock.look,
    "queues": queues.look,
    "store": store.look,
    "containers": containers.look,
    "telemetry": telemetry.look,
    "model": model.look,
}


def examine(
    settings: Settings, seconds: float | None = None, only: str | None = None
) -> AsyncIterator[Check]:
    """Look at everything that an installation on Azure works with.

    Parameters:
      settings: They say where it is, and who asks.
      seconds: The longest that each part may take; None: a minute, and five for containers.
      only: One part; None: all.
    """
    chosen = {name: look for name, look in _PARTS.items() if only in {None, name}}
    usual = {"containers": CONTAINER_SECONDS}
    return carry_out(
        [
            Part(name, lambda look=look: look(settings), seconds or usual.get(name, SECONDS), _NETWORK)
            for name, look in chosen.items()
        ]
    )
