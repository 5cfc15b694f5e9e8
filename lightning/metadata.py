"""What the metadata of all types of events have in common."""

from pydantic import BaseModel, ConfigDict


class Metadata(BaseModel):
    """Base of all metadata: unknown fields are mistakes, and types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(Metadata):
    """Why something did not work, in words that are safe to show."""

    code: str
    message: str
