"""What the lines of an archive say besides documents, and the version of their form."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lightning.storage import CONTAINERS

#: Raised when a program that knows only the form before could misread what is written.
VERSION: Final = 1

FORMAT: Final = "lightning-export"

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _known(container: str) -> str:
    if container not in CONTAINERS:
        raise ValueError("this version has no such container")
    return container


ContainerName = Annotated[str, AfterValidator(_known)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Header(_Line):
    """What the archive is: ``header.json``, written first."""

    format: Literal["lightning-export"] = FORMAT
    version: int = VERSION
    createdAt: str  # noqa: N815 -- named as all fields of documents
    store: str
    containers: list[ContainerName]


class PartBegin(_Line):
    """The first line of a part; a part holds documents of one container, ordered by user and id."""

    part: Annotated[int, Field(ge=1)]
    container: ContainerName


class PartEnd(_Line):
    """The last line of a part; the checksum is of all bytes before it."""

    documents: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Trailer(_Line):
    """What the archive holds: ``trailer.json``, written when all of it was compared with the store.

    The checksum is of the header and of the last lines of all parts, in their order.
    """

    completedAt: str  # noqa: N815 -- named as all fields of documents
    parts: Count
    documents: dict[ContainerName, Count]
    sha256: Sha256
