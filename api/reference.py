"""The description of the API as a page for people; everything on it comes from the description."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.schemas import Schema, alternatives

#: Fields within fields are told so far down.
_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field or parameter, as a row of a table.

    Parameters:
      name: Its path from the top of the body: ``outputs[].id``.
      kind: Its type, in words.
      required: Whether it must be there.
      meaning: What it is for.
      limits: What it may hold.
    """

    name: str
    kind: str
    required: bool
    meaning: str
    limits: str


def render(document: dict[str, Any]) -> tuple[str, str]:
    """Make the page.

    Parameters:
      document: The description, an OpenAPI document.

    Returns:
      The page, and the style that stands in it.
    """
    pages = Environment(
        loader=PackageLoader("api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = _View(document)
    pages.filters.update(marked=_marked, inline=_inline, pretty=_pretty, breakable=_breakable)
    style = pages.get_template("docs.css").render()
    page = pages.get_template("docs.html").render(
        begin=pages.get_template("begin.sh").render(),
        document=document,
        resources=view.resources(),
        view=view,
        style=Markup(style),  # noqa: S704 -- our file
    )
    return page, style


class _View:
    """What the template asks of the description."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._schemas: dict[str, Schema] = document["components"]["schemas"]

    def resources(self) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
        """List the resources, each with its operations."""
        every = [
            {**operation, "method": method.upper(), "path": path}
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
        ]
        return [
            (tag, [operation for operation in every if tag["name"] in operation["tags"]])
            for tag in self._document["tags"]
        ]

    def scope(self, operation: Mapping[str, Any]) -> str | None:
        """Name the scope that a token needs."""
        named = [scope for choice in operation["security"] for scope in choice.get("bearer", [])]
        return named[0] if named else None

    def is_for_runs(self, operation: Mapping[str, Any]) -> bool:
        """Tell whether it takes the token of a run, and no other."""
        return any("run" in choice for choice in operation["security"])

    def kinds(self, schema: Schema) -> list[tuple[str, list[Field]]]:
        """List the fields of a body, or of each of its kinds under the kind's name."""
        return [(name, self.fields(each)) for name, each in alternatives(schema, self._schemas)]

    def fields(self, schema: Schema) -> list[Field]:
        """List the fields of a schema, those within fields too."""
        return list(self._fields(schema, "", _DEPTH))

    def parameters(self, operation: Mapping[str, Any], place: str) -> list[Field]:
        """List the parameters of an operation: those in its ``path``, ``query`` or ``header``."""
        return [
            self._field(each["name"], {**each["schema"], **_description(each)}, required=each["required"])
            for each in operation.get("parameters", [])
            if each["in"] == place
        ]

    def codes(self, operation: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
        """List the problems of an operation: status, its name and the codes."""
        found: list[tuple[str, str, list[str]]] = []
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get("application/problem+json")
            if problem is not None:
                codes = problem["schema"]["allOf"][1]["properties"]["code"]["enum"]
                found.append((status, answer["description"], codes))
        return found

    def answers(self, operation: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
        """List the answers of an operation that are no problems, each by its status."""
        return [
            (status, answer)
            for status, answer in operation["responses"].items()
            if set(answer.get("content", {})) != {"application/problem+json"}
        ]

    def example(self, content: Mapping[str, Any]) -> Any:
        """Give the first example of a content, or None."""
        examples = content.get("examples", {})
        return next(iter(examples.values()))["value"] if examples else None

    def curl(self, operation: Mapping[str, Any]) -> str:
        """Write an operation as a line for the shell."""
        method, path = (
            operation["method"],
            re.sub(r"{(\w+)}", lambda found: f"${found[1].upper()}", operation["path"]),
        )
        words = ["curl"]
        body = operation.get("requestBody")
        if method != ("GET" if body is None else "POST"):
            words.append(f"-X {method}")
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {}):
            words.append("-N")
        words.append(f'"$URL{path}"')
        if operation["security"]:
            token = "LIGHTNING_RUN_TOKEN" if self.is_for_runs(operation) else "TOKEN"
            words.append(f'-H "Authorization: Bearer ${token}"')
        if body is not None:
            words.append(f"--json {_quoted(self.example(next(iter(body['content'].values()))))}")
        return " ".join(words)

    def _resolved(self, schema: Schema) -> Schema:
        return self._schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def _fields(self, schema: Schema, prefix: str, depth: int) -> Iterator[Field]:
        schema = self._within(schema)
        if schema.get("type") == "array":
            yield from self._fields(schema["items"], f"{prefix.removesuffix('.')}[].", depth)
        properties: dict[str, Schema] = schema.get("properties", {})
        if not properties and isinstance(schema.get("additionalProperties"), dict):
            properties = {"*": schema["additionalProperties"]}
        for name, each in properties.items():
            required = name in schema.get("required", [])
            yield self._field(prefix + name, each, required=required)
            if depth:
                yield from self._fields(each, f"{prefix}{name}.", depth - 1)

    def _within(self, schema: Schema) -> Schema:
        """Look past references, and past null where a field may also be that."""
        schema = self._resolved(schema)
        some = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
        return self._within(some[0]) if len(some) == 1 else schema

    def _field(self, name: str, schema: Schema, *, required: bool) -> Field:
        meaning = schema.get("description") or self._within(schema).get("description", "")
        return Field(name, self._kind(schema), required, meaning, _limits({**self._within(schema), **schema}))

    def _kind(self, schema: Schema) -> str:
        schema = self._resolved(schema)
        if "const" in schema or "enum" in schema:
            return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return " or ".join(dict.fromkeys(self._kind(each) for each in choices))
        if schema.get("type") == "array":
            return f"list of {self._kind(schema.get('items', {}))}"
        return "RFC 3339 time" if schema.get("format") == "date-time" else str(schema.get("type", "any JSON"))


def _description(parameter: Mapping[str, Any]) -> dict[str, str]:
    return {"description": parameter["description"]} if "description" in parameter else {}


def _limits(schema: Schema) -> str:
    parts: list[str] = []
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        least, most = schema.get(low), schema.get(high)
        if least is not None and most is not None:
            parts.append(f"{least} to {most}{unit}")
        elif most is not None:
            parts.append(f"at most {most}{unit}")
        elif least is not None:
            parts.append(f"at least {least}{unit.removesuffix('s') if least == 1 else unit}")
    if schema.get("default") is not None:
        parts.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(parts)


def _quoted(value: Any) -> str:
    """Quote JSON for a POSIX shell; the caller's own id is a variable there."""
    text = json.dumps(value, ensure_ascii=False).replace("'", "'\\''")
    return "'" + re.sub(r'"userID": "[^"]*"', '"userID": "\'"$USER_ID"\'"', text) + "'"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _breakable(name: str) -> Markup:
    """Allow a line to end between the parts of a name."""
    return Markup("<wbr>").join(re.split(r"(?<=[.\]])(?=\w)|(?<=[a-z])(?=[A-Z])", name))


def _marked(text: str) -> Markup:
    """Write text with Markdown's literals and paragraphs as HTML."""
    paragraphs = [_inline(each) for each in text.split("\n\n") if each.strip()]
    return Markup().join(Markup("<p>{}</p>").format(each) for each in paragraphs)


def _inline(text: str) -> Markup:
    """Write text with Markdown's literals as HTML."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
