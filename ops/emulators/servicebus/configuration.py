"""Declared entities, in the form of the configuration file of Microsoft's own emulator.

Source: Microsoft, "Test locally by using the Azure Service Bus emulator", Config.json.
"""

import json
import re
from pathlib import Path
from typing import cast

from ops.emulators.servicebus.entities.namespace import Declarations, SubscriptionDeclaration
from ops.emulators.servicebus.entities.properties import EntityProperties

#: Properties that the service has and this emulator has not; they may be given with these values only.
NOT_EMULATED: dict[str, object] = {
    "RequiresSession": False,
    "ForwardTo": "",
    "ForwardDeadLetteredMessagesTo": "",
}
KNOWN = {
    "LockDuration",
    "MaxDeliveryCount",
    "DefaultMessageTimeToLive",
    "DeadLetteringOnMessageExpiration",
    "RequiresDuplicateDetection",
    "DuplicateDetectionHistoryTimeWindow",
}
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")

Json = dict[str, object]


class ConfigurationError(ValueError):
    """Something in a configuration is wrong, or not emulated; the text says what."""


def read_configuration(path: Path) -> Json:
    """Read a configuration file.

    Raises:
      OSError: It cannot be read.
      ConfigurationError: It is no JSON object.
    """
    value: object = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ConfigurationError("a configuration is a JSON object with UserConfig")
    return cast("Json", value)


def declarations(configuration: Json, default: EntityProperties, *, is_strict: bool) -> Declarations:
    """Take the entities out of a configuration.

    Parameters:
      configuration: What `read_configuration` gives; empty: no entities.
      default: The properties of entities that come to be when they are first used.
      is_strict: Whether none do.

    Raises:
      ConfigurationError: Something in it is wrong, or not emulated.
    """
    queues: dict[str, EntityProperties] = {}
    topics: dict[str, tuple[EntityProperties, tuple[SubscriptionDeclaration, ...]]] = {}
    user = _object(configuration.get("UserConfig", {}), "UserConfig")
    for namespace in _objects(user, "Namespaces"):
        for queue in _objects(namespace, "Queues"):
            queues[_name(queue)] = _properties(queue)
        for topic in _objects(namespace, "Topics"):
            subscriptions = tuple(_subscription(item) for item in _objects(topic, "Subscriptions"))
            topics[_name(topic)] = (_properties(topic), subscriptions)
    return Declarations(queues=queues, topics=topics, default=default, is_strict=is_strict)


def seconds(duration: object) -> float:
    """Read an ISO 8601 duration of days, hours, minutes and seconds.

    Raises:
      ConfigurationError: It is none.
    """
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if found is None or not any(found.groups()):
        raise ConfigurationError(f"{duration!r} is no duration such as PT30S or P1D")
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + rest


def _subscription(item: Json) -> SubscriptionDeclaration:
    for rule in _objects(item, "Rules"):
        kind = _object(rule.get("Properties", {}), "Properties").get("FilterType")
        if kind != "TrueFilter":
            raise ConfigurationError(
                f"the filter '{kind}' of subscription '{_name(item)}' is not emulated; leave Rules out, and "
                "every message matches"
            )
    return SubscriptionDeclaration(_name(item), _properties(item))


def _properties(item: Json) -> EntityProperties:
    given = _object(item.get("Properties", {}), "Properties")
    for name, value in NOT_EMULATED.items():
        if given.get(name, value) != value:
            raise ConfigurationError(f"{name} of '{_name(item)}' is not emulated")
    unknown = given.keys() - KNOWN - NOT_EMULATED.keys()
    if unknown:
        raise ConfigurationError(f"'{_name(item)}' has no property {', '.join(sorted(unknown))}")
    base = EntityProperties()
    count = given.get("MaxDeliveryCount", base.max_delivery_count)
    if isinstance(count, bool) or not isinstance(count, int):
        raise ConfigurationError(f"MaxDeliveryCount of '{_name(item)}' must be a number")
    life = given.get("DefaultMessageTimeToLive")
    window = given.get("DuplicateDetectionHistoryTimeWindow", "PT10M")
    return EntityProperties(
        lock_duration=seconds(given["LockDuration"]) if "LockDuration" in given else base.lock_duration,
        max_delivery_count=count,
        time_to_live=None if life is None else seconds(life),
        dead_letters_expired=given.get("DeadLetteringOnMessageExpiration", False) is True,
        duplicate_window=seconds(window) if given.get("RequiresDuplicateDetection", False) is True else None,
    )


def _name(item: Json) -> str:
    name = item.get("Name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError("an entity needs a Name")
    return name


def _objects(item: Json, name: str) -> list[Json]:
    value = item.get(name, [])
    if not isinstance(value, list):
        raise ConfigurationError(f"{name} must be a list")
    return [_object(entry, name) for entry in cast("list[object]", value)]


def _object(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} must hold JSON objects")
    return cast("Json", value)
