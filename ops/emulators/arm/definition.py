"""A container group as a client defines it: the body of a PUT, checked.

Sources: "Container Groups - Create Or Update" (fields), "Troubleshoot common issues in Azure Container
Instances" (names), "Resource availability & quota limits for ACI" (numbers).
"""

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

MAX_VOLUMES: Final = 20

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_]{0,61}[A-Za-z0-9])?")
_VOLUME: Final = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{3,61}[a-z0-9]")
_SUBNET: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
_IDENTITY: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity"
    r"/userAssignedIdentities/[^/]+",
    re.IGNORECASE,
)


def is_label(name: str) -> bool:
    """Tell whether a container group may have this name."""
    return _LABEL.fullmatch(name) is not None


def _matching(pattern: re.Pattern[str], meaning: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"it is not {meaning}")
        return text

    return AfterValidator(check)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("it is not in base64") from None
    return text


def _mount_path(path: str) -> str:
    if not path.startswith("/") or ":" in path or ".." in path.split("/"):
        raise ValueError("it is not an absolute path without a colon")
    return path


Label = Annotated[str, _matching(_LABEL, "1 to 63 small letters, digits and hyphens, none at an end")]
Variable = Annotated[
    str, _matching(_VARIABLE, "1 to 63 letters, digits and underscores, none of these at an end")
]
FileName = Annotated[
    str,
    _matching(re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,253}"), "a file name of letters, digits, . _ and -"),
]
VolumeName = Annotated[str, _matching(_VOLUME, "5 to 63 small letters, digits and single hyphens")]


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, hide_input_in_errors=True
    )


class EnvironmentVariable(_Part):
    """A variable; a secure value is never shown again."""

    name: Variable
    value: str | None = None
    secure_value: str | None = Field(None, exclude=True)

    @model_validator(mode="after")
    def _has_one_value(self) -> "EnvironmentVariable":
        if (self.value is None) == (self.secure_value is None):
            raise ValueError("it has not exactly one of value and secureValue")
        return self


class Requests(_Part):
    """What a container gets: cores, and memory in steps of 0.1 GB."""

    cpu: Annotated[float, Field(gt=0)]
    memory_in_gb: Annotated[float, Field(gt=0, alias="memoryInGB")]


class Resources(_Part):
    """The resources of a container."""

    requests: Requests


class Mount(_Part):
    """Where a container sees a volume."""

    name: VolumeName
    mount_path: Annotated[str, AfterValidator(_mount_path)]
    read_only: bool | None = None


class ContainerProperties(_Part):
    """What a container runs."""

    image: Annotated[str, Field(min_length=1)]
    command: list[str] | None = None
    environment_variables: list[EnvironmentVariable] | None = None
    resources: Resources
    volume_mounts: list[Mount] | None = None


class ContainerDefinition(_Part):
    """One container of the group."""

    name: Label
    properties: ContainerProperties


class Volume(_Part):
    """A secret volume, whose content is never shown again."""

    name: VolumeName
    secret: dict[FileName, Annotated[str, AfterValidator(_base64)]]


class RegistryCredential(_Part):
    """With what images of a registry are pulled."""

    server: Annotated[str, Field(min_length=1)]
    username: str | None = None
    password: str | None = Field(None, exclude=True)
    identity: Annotated[str, _matching(_IDENTITY, "the id of a user-assigned identity")] | None = None


class Subnet(_Part):
    """The subnet that a group is in."""

    id: Annotated[str, _matching(_SUBNET, "the id of a subnet")]
    name: str | None = None


class Properties(_Part):
    """The group's properties."""

    containers: Annotated[list[ContainerDefinition], Field(min_length=1)]
    os_type: Literal["Linux", "Windows"]
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    image_registry_credentials: list[RegistryCredential] | None = None
    volumes: Annotated[list[Volume], Field(max_length=MAX_VOLUMES)] | None = None
    subnet_ids: Annotated[list[Subnet], Field(max_length=1)] | None = None


class Identity(_Part):
    """The managed identity that code in the group can borrow."""

    type: Literal["None", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned"]
    user_assigned_identities: (
        dict[Annotated[str, _matching(_IDENTITY, "the id of a user-assigned identity")], dict[str, Any]]
        | None
    ) = None


class Definition(_Part):
    """A container group."""

    location: Annotated[str, Field(min_length=1)]
    tags: dict[str, Annotated[str, Field(max_length=256)]] | None = None
    identity: Identity | None = None
    properties: Properties

    @property
    def container(self) -> ContainerDefinition:
        """Its one container."""
        return self.properties.containers[0]

    @property
    def cpu(self) -> float:
        """Cores of the whole group."""
        return self.container.properties.resources.requests.cpu

    @property
    def memory_gb(self) -> float:
        """Memory of the whole group."""
        return self.container.properties.resources.requests.memory_in_gb

    def shown(self) -> dict[str, Any]:
        """Give what a client may read of it: no secure value, no password, no secret."""
        body = self.model_dump(by_alias=True, exclude_none=True)
        for volume in body["properties"].get("volumes", ()):
            if "secret" in volume:
                volume["secret"] = {}
        return body

    def fixed(self) -> tuple[object, ...]:
        """Give what an update may not change ("Properties that require container delete")."""
        properties = self.properties
        return (
            properties.os_type,
            properties.restart_policy,
            self.cpu,
            self.memory_gb,
            properties.subnet_ids,
        )
