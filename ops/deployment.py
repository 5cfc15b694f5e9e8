"""What `infra/` has to know of the code: written down by `make docs`, since it runs without our packages."""

import json
from typing import Any, Final

from brokers import queue_names
from brokers.servicebus_queues import queue_properties
from lightning.settings import Settings
from lightning.storage.port import CONTAINERS

#: Where it is written.
FILE: Final = "infra/platform.json"

#: The queues in the form of Microsoft's emulator, which `compose.yaml` starts.
EMULATED_FILE: Final = "ops/compose/servicebus.json"

#: The setting that names each container of the store.
_NAMES: Final = {
    "users": "USER_CONTAINER",
    "repos": "REPO_CONTAINER",
    "schedules": "SCHEDULE_CONTAINER",
    "events": "EVENT_CONTAINER",
}


def needed() -> dict[str, Any]:
    """Give the queues and containers that an installation with the usual settings needs."""
    # the SDK takes long to load, and importing a module is to do nothing else
    from lightning.storage.cosmos_account import PARTITION_PATH, indexing_policy  # noqa: PLC0415

    settings = Settings.load({})
    return {
        "queues": queue_names(settings.servicebus_queue),
        "queue": queue_properties(settings.lease_seconds),
        "database": settings.cosmos_database,
        "containers": {
            setting: {
                "name": str(getattr(settings, setting.lower())),
                "partition": PARTITION_PATH,
                "ttl": -1,  # documents may expire; none does unless it says so
                "indexing": indexing_policy(CONTAINERS[kind]),
            }
            for kind, setting in _NAMES.items()
        },
    }


def files() -> dict[str, str]:
    """Give the text of each file."""
    said = needed()
    queues = [{"Name": name, "Properties": said["queue"]} for name in said["queues"]]
    namespace = {"Name": "sbemulatorns", "Queues": queues, "Topics": []}  # it knows no other name
    emulated = {"UserConfig": {"Namespaces": [namespace], "Logging": {"Type": "Console"}}}
    return {
        name: json.dumps(content, indent=2) + "\n"
        for name, content in ((FILE, said), (EMULATED_FILE, emulated))
    }
