"""JSON schemas (draft 2020-12) of everything that the API takes and gives, from the models themselves."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from api.glossary import GLOSSARY
from lightning.events import TYPES, Envelope

Schema: TypeAlias = dict[str, Any]

_PREFIX = "#/components/schemas/"


class Schemas:
    """The schemas of a set of types, which refer to each other.

    Parameters:
      types: Pydantic models, unions of them, or any other type that pydantic knows.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        self._posted = {name: _posted_event(name) for name, kind in TYPES.items() if kind.posted_by_users}
        metadata = [kind.metadata for kind in TYPES.values()]
        distinct = list(dict.fromkeys([Envelope, *self._posted.values(), *metadata, *types]))
        schemas, rest = TypeAdapter.json_schemas(
            [(index, "validation", TypeAdapter(each)) for index, each in enumerate(distinct)],
            ref_template=_PREFIX + "{model}",
            schema_generator=_Plain,
        )
        self._of = {each: _polished(schemas[index, "validation"]) for index, each in enumerate(distinct)}
        self.components: dict[str, Schema] = _polished(rest["$defs"])
        for component in self.components.values():
            _explain(component)
        self.components[_name(self.of(Envelope))] = self._any_event()
        self.components["MetadataByType"] = self._metadata_by_type()

    def of(self, type: Any) -> Schema:
        """Give the schema of one of the types; that of a model is a reference."""
        return self._of[type]

    def resolved(self, schema: Schema) -> Schema:
        """Follow a reference."""
        return self.components[_name(schema)] if "$ref" in schema else schema

    def parameters(self, model: type[BaseModel]) -> dict[str, tuple[Schema, bool]]:
        """Give the schema of each field of a model of query parameters, and whether it is required.

        In an address nothing stands for null: a parameter is there or is left out.
        """
        whole = self.resolved(self.of(model))
        required = whole.get("required", [])
        return {name: (_without_null(each), name in required) for name, each in whole["properties"].items()}

    def drop(self, model: Any) -> None:
        """Take the schema of a model out, when nothing refers to it any more."""
        del self.components[_name(self.of(model))]

    def event_types(self) -> dict[str, Schema]:
        """Describe every type of event: who posts it, and the schema of its metadata."""
        return {
            name: {
                "postedBy": "user" if kind.posted_by_users else "platform",
                "description": self.resolved(self.of(kind.metadata))["description"],
                "metadata": self.of(kind.metadata),
            }
            for name, kind in TYPES.items()
        }

    def _any_event(self) -> Schema:
        variants = {name: self.of(model) for name, model in self._posted.items()}
        mapping = {name: schema["$ref"] for name, schema in variants.items()}
        return {
            "title": Envelope.__name__,
            "description": Envelope.__doc__,
            "oneOf": list(variants.values()),
            "discriminator": {"propertyName": "type", "mapping": mapping},
        }

    def _metadata_by_type(self) -> Schema:
        """Say what the metadata of each type holds; nothing of unknown types, and of what was forgotten."""
        kept = {"not": {"required": ["erased"]}}
        return {
            "description": "The type of an event decides what its metadata holds.",
            "allOf": [
                {
                    "if": {"properties": {"type": {"const": name}}, "required": ["type"], **kept},
                    "then": {"properties": {"metadata": self.of(kind.metadata)}},
                }
                for name, kind in TYPES.items()
            ],
        }


def alternatives(schema: Schema, components: Mapping[str, Schema]) -> list[tuple[str, Schema]]:
    """List the kinds of body that a schema allows, each by name; of the one kind, the name is empty.

    Parameters:
      schema: The schema.
      components: Where its references lead.
    """
    resolved = components[_name(schema)] if "$ref" in schema else schema
    if "discriminator" in resolved:
        mapping: Mapping[str, str] = resolved["discriminator"]["mapping"]
        return [(name, {"$ref": reference}) for name, reference in mapping.items()]
    kinds = [kind for kind in resolved.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) < 2:
        return [("", schema)]
    return [(name or _title(kind), each) for kind in kinds for name, each in alternatives(kind, components)]


def _title(schema: Schema) -> str:
    if "$ref" in schema:
        return _name(schema)
    within = _title(schema["items"]) if "items" in schema else ""
    return f"list of {within}" if within else str(schema.get("type", ""))


class _Plain(GenerateJsonSchema):
    """Pydantic's schemas, without titles that only repeat the name of a field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Say that no field has one."""
        return False


def _posted_event(name: str) -> type[Envelope]:
    """Make the form in which an event of one type is posted."""
    metadata = TYPES[name].metadata
    title = "".join(part.capitalize() for part in name.split(".")) + "Event"
    fields: dict[str, Any] = {
        "type": (Literal[name], ...),
        "metadata": (metadata, {} if _may_be_empty(metadata) else ...),
    }
    return create_model(title, __base__=Envelope, __doc__=metadata.__doc__, **fields)


def _may_be_empty(metadata: type[BaseModel]) -> bool:
    try:
        metadata.model_validate({})
    except ValidationError:
        return False
    return True


def _explain(component: Schema) -> None:
    """Say of the fields that do not say it themselves what their names mean."""
    for name, field in component.get("properties", {}).items():
        if name in GLOSSARY:
            field.setdefault("description", GLOSSARY[name].meaning)


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).removeprefix(_PREFIX)


def _without_null(schema: Schema) -> Schema:
    if "anyOf" not in schema:
        return schema
    kinds = [each for each in schema["anyOf"] if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    return {**rest, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}


def _polished(value: Any) -> Any:
    """Write the literals in descriptions, which are docstrings, as Markdown does."""
    if isinstance(value, list):
        return [_polished(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    return {
        name: each.replace("``", "`") if name == "description" and isinstance(each, str) else _polished(each)
        for name, each in value.items()  # pyright: ignore[reportUnknownVariableType]
    }
