"""Checks the body of a PUT, and says what of it is refused.

Sources: "Container Groups - Create Or Update", "Use tags to organize your Azure resources".
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, cast

from pydantic import ValidationError

from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import ArmError, invalid, outside_subset

#: What Azure has and this emulator has not.
_OUTSIDE: Final = frozenset(
    {
        *(
            "initContainers",
            "ipAddress",
            "extensions",
            "encryptionProperties",
            "confidentialComputeProperties",
        ),
        *("diagnostics", "dnsConfig", "priority", "sku", "zones", "azureFile", "gitRepo", "livenessProbe"),
        *("readinessProbe", "securityContext", "ports", "gpu", "limits", "identityUrl", "emptyDir"),
    }
)

#: What only the service writes; a client that sends back what it has read sends these too.
_READ_ONLY: Final = frozenset({"id", "name", "type"})
_READ_ONLY_PROPERTIES: Final = frozenset({"provisioningState", "instanceView"})

MAX_TAGS: Final = 50

_TAG: Final = re.compile(r"[^<>%&\\?/]{1,512}")


def parse_definition(body: object) -> Definition:
    """Check the body of a PUT.

    Raises:
      ArmError: Azure refuses it, or it is outside the subset.
    """
    if not isinstance(body, dict):
        raise invalid("it is not a JSON object")
    cleaned = cast("dict[str, Any]", _without_nulls(cast("dict[str, Any]", body)))
    if not cleaned.get("location"):
        message = "The location property is required for this definition."
        raise ArmError(400, "LocationRequired", message)
    try:
        definition = Definition.model_validate(_without_read_only(cleaned))
    except ValidationError as error:
        raise _refusal(error) from None
    _check_together(definition)
    return definition


def check_tags(tags: dict[str, str] | None) -> None:
    """Check the names of tags.

    Raises:
      ArmError: There are too many, or a name cannot be one.
    """
    names = tags or {}
    if len(names) > MAX_TAGS:
        raise ArmError(400, "InvalidTags", f"There are {len(names)} tags; a resource has {MAX_TAGS} at most.")
    for name in names:
        if not _TAG.fullmatch(name):
            raise ArmError(400, "InvalidTagNameCharacters", f"The tag name '{name}' is not allowed.")


def _check_together(definition: Definition) -> None:
    properties = definition.properties
    check_tags(definition.tags)
    if properties.os_type == "Windows":
        raise outside_subset("osType Windows")
    if len(properties.containers) > 1:
        raise outside_subset("more than one container in a group")
    volumes = [volume.name for volume in properties.volumes or ()]
    if twice := [name for name, count in Counter(volumes).items() if count > 1]:
        raise invalid(f"the volume name '{twice[0]}' is given twice")
    for mount in definition.container.properties.volume_mounts or ():
        if mount.name not in volumes:
            raise invalid(f"the container mounts the unknown volume '{mount.name}'")
    for credential in properties.image_registry_credentials or ():
        by_password = credential.username is not None and credential.password is not None
        if by_password == (credential.identity is not None):
            raise invalid(
                f"the credentials of '{credential.server}' are neither username and password nor identity"
            )
    identity = definition.identity
    if identity and ("UserAssigned" in identity.type.split(", ")) != bool(identity.user_assigned_identities):
        raise invalid("identity.type and userAssignedIdentities do not fit each other")


def _without_nulls(value: object) -> object:
    """Leave out what is null, which Azure takes as not there."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return {name: _without_nulls(part) for name, part in pairs if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in cast("list[object]", value)]
    return value


def _without_read_only(body: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name not in _READ_ONLY}
    properties = kept.get("properties")
    if isinstance(properties, dict):
        mapping = cast("dict[str, Any]", properties)
        kept["properties"] = {k: _container_views(k, v) for k, v in mapping.items()}
        for name in _READ_ONLY_PROPERTIES:
            kept["properties"].pop(name, None)
    return kept


def _container_views(name: str, value: Any) -> Any:
    """Leave the instance view of each container out."""
    if name != "containers" or not isinstance(value, list):
        return value
    containers = cast("list[dict[str, Any]]", value)
    for container in containers:
        properties: Any = container.get("properties") if isinstance(container, dict) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if isinstance(properties, dict):
            cast("dict[str, Any]", properties).pop("instanceView", None)
    return containers


def _refusal(error: ValidationError) -> ArmError:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    for problem in problems:
        if problem["type"] == "extra_forbidden" and str(problem["loc"][-1]) in _OUTSIDE:
            return outside_subset(_path(problem["loc"]))
    first = problems[0]
    if first["type"] == "extra_forbidden":
        return invalid(f"could not find member '{first['loc'][-1]}' at '{_path(first['loc'])}'")
    return invalid(f"'{_path(first['loc'])}': {first['msg'].removeprefix('Value error, ')}")


def _path(parts: Sequence[int | str]) -> str:
    return ".".join(map(str, parts))
