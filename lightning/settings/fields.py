"""All settings, in the order in which they are told."""

from collections.abc import Mapping
from typing import Final, cast

from pydantic.fields import FieldInfo

from lightning.settings.groups.access import Access
from lightning.settings.groups.amounts import Amounts
from lightning.settings.groups.connections import Connections
from lightning.settings.groups.insight import Insight
from lightning.settings.groups.installation import Installation
from lightning.settings.groups.specified import Specified

PREFIX: Final = "LIGHTNING_"


class Fields(Insight, Connections, Amounts, Access, Installation, Specified):
    """Every setting; pydantic begins with the fields of the last base."""


#: Each setting by the name of its variable: the name of its attribute, and what was declared.
FIELDS: Final[Mapping[str, tuple[str, FieldInfo]]] = {
    str(field.validation_alias): (attribute, field) for attribute, field in Fields.model_fields.items()
}


def example_of(name: str) -> str:
    """Give an assignment that would do."""
    _, field = FIELDS[name]
    return f"{name}={(field.examples or [''])[0]}"


def without_settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that are no settings, and do not look like some."""
    return {k: v for k, v in environ.items() if k not in FIELDS and not k.startswith(PREFIX)}


def settings_table() -> str:
    """Write the README's table: one line a setting, in Markdown."""
    rows = [f"| `{name}` | {_shown(field)} | {field.description} |" for name, (_, field) in FIELDS.items()]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows, ""])


def _shown(field: FieldInfo) -> str:
    return cast("dict[str, str]", field.json_schema_extra)["shown"]
