"""How a setting is declared."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Group(BaseModel):
    """Settings of one subject; in the environment, all stand side by side."""

    model_config = ConfigDict(defer_build=True)  # read is only the class that has all of them


def setting(name: str, default: Any, meaning: str, *, example: str = "", shown: str | None = None) -> Any:
    """Declare a setting; ``shown`` is the default as the README shows it, where the value does not say it."""
    usual = "" if default is None else f"`{default}`"
    return Field(
        default,
        validation_alias=name,
        description=meaning,
        examples=[example or str(default)],
        json_schema_extra={"shown": usual if shown is None else shown},
    )
