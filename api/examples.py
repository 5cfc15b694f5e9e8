"""Examples that follow from schemas, so that none can go stale."""

from collections.abc import Mapping
from typing import Any

from api.glossary import GLOSSARY, Term
from api.schemas import Schema, Schemas, alternatives

_BY_FORMAT: Mapping[str, str] = {
    "date-time": "2026-01-31T12:00:00Z",
    "uuid": "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b",
    "uri": "https://hooks.example.com/lightning",
}

_KINDS: Mapping[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}


def examples_of(schema: Schema, schemas: Schemas) -> dict[str, Any]:
    """Make an example of each kind of body that a schema allows.

    Returns:
      OpenAPI's Example Objects by name.
    """
    return {
        name or "example": {"value": example_of(each, schemas)}
        for name, each in alternatives(schema, schemas.components)
    }


def example_of(schema: Schema, schemas: Schemas, name: str = "") -> Any:
    """Make one value that a schema allows.

    Parameters:
      schema: The schema.
      schemas: Where its references lead.
      name: The name of the field whose schema it is.
    """
    schema = schemas.resolved(schema)
    told = [*schema.get("examples", []), *schema.get("enum", [])]
    if told or "const" in schema:
        return told[0] if told else schema["const"]
    if kinds := schema.get("oneOf") or schema.get("anyOf"):
        return example_of(kinds[0], schemas, name)
    match schema.get("type", "object"):
        case "object":
            return _object(schema, schemas)
        case "array":
            return [example_of(schema.get("items", {"type": "string"}), schemas, name)]
        case type:
            return _scalar(schema, type, name)


def _object(schema: Schema, schemas: Schemas) -> dict[str, Any]:
    properties: dict[str, Schema] = schema.get("properties", {})
    if properties:
        return {name: example_of(each, schemas, name) for name, each in properties.items() if _told(each)}
    values: Any = schema.get("additionalProperties", False)
    return {} if isinstance(values, bool) else {"name": example_of(values, schemas)}


def _told(schema: Schema) -> bool:
    """Tell whether an example shows a field: not when leaving it out means null."""
    return "examples" in schema or schema.get("default", ...) is not None


def _scalar(schema: Schema, type: str, name: str) -> Any:
    usual = GLOSSARY.get(name, Term()).example
    if type in _KINDS and isinstance(usual, _KINDS[type]):
        return usual
    if type == "string":
        return _BY_FORMAT.get(schema.get("format", ""), "text")
    if type in {"integer", "number"}:
        return schema.get("minimum", 1)
    return True if type == "boolean" else None
