"""The tables in which Application Insights shows what was sent, and how an envelope becomes a row of one.

Names and types: https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete and of the
resource's own tables (``requests``, ``dependencies``, ...), in which the exporter's fields are found.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ops.emulators.monitor.envelope import JsonObject, milliseconds, tags_of

#: What every table has.
SHARED: Final = (
    *("timestamp", "itemType", "customDimensions", "customMeasurements", "operation_Name", "operation_Id"),
    *("operation_ParentId", "user_AuthenticatedId", "cloud_RoleName", "cloud_RoleInstance", "itemCount"),
)

#: The tables, and what each has besides.
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "requests": ("id", "source", "name", "url", "success", "resultCode", "duration"),
    "dependencies": ("id", "target", "type", "name", "data", "success", "resultCode", "duration"),
    "traces": ("message", "severityLevel"),
    "exceptions": ("type", "outerMessage", "severityLevel", "details"),
    "customEvents": ("name",),
    "customMetrics": ("name", "value", "valueCount", "valueSum", "valueMin", "valueMax"),
}

_PLACES: Final = {
    "RequestData": ("requests", "request"),
    "RemoteDependencyData": ("dependencies", "dependency"),
    "MessageData": ("traces", "trace"),
    "ExceptionData": ("exceptions", "exception"),
    "EventData": ("customEvents", "customEvent"),
    "MetricData": ("customMetrics", "customMetric"),
}

_TAGS: Final = {
    "operation_Name": "ai.operation.name",
    "operation_Id": "ai.operation.id",
    "operation_ParentId": "ai.operation.parentId",
    "user_AuthenticatedId": "ai.user.authUserId",
    "cloud_RoleName": "ai.cloud.role",
    "cloud_RoleInstance": "ai.cloud.roleInstance",
}


def rows(envelope: JsonObject) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the rows of an envelope, each with the name of its table.

    Parameters:
      envelope: One that was checked.
    """
    data = envelope["data"]
    table, item_type = _PLACES[data["baseType"]]
    base: JsonObject = data["baseData"]
    tags = tags_of(envelope)
    shared: dict[str, Any] = {
        "timestamp": datetime.fromisoformat(envelope["time"])
        .astimezone(UTC)
        .strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "itemType": item_type,
        "customDimensions": orjson.dumps(base.get("properties") or {}).decode(),
        "customMeasurements": orjson.dumps(base.get("measurements") or {}).decode(),
        "itemCount": round(100 / (envelope.get("sampleRate") or 100)),
        **{column: tags.get(tag) or "" for column, tag in _TAGS.items()},
    }
    for own in _own(table, base):
        yield table, {**shared, **own}


def _own(table: str, base: JsonObject) -> Iterator[dict[str, Any]]:
    """Give what a table has besides; one envelope may hold several metrics."""
    if table == "customMetrics":
        yield from (_metric(point) for point in base["metrics"])
    elif table == "exceptions":
        first = base["exceptions"][0]
        yield {
            "type": first.get("typeName") or "",
            "outerMessage": first.get("message") or "",
            "severityLevel": base.get("severityLevel"),
            "details": orjson.dumps(base["exceptions"]).decode(),
        }
    elif table in {"requests", "dependencies"}:
        code = base.get("responseCode" if table == "requests" else "resultCode")
        own = {name: base.get(name) or "" for name in TABLES[table]}
        # the resource's own tables tell it as text
        succeeded = "False" if base.get("success") is False else "True"
        yield {
            **own,
            "success": succeeded,
            "resultCode": code or "",
            "duration": milliseconds(base["duration"]),
        }
    else:
        yield {name: base.get(name) for name in TABLES[table]}


def _metric(point: JsonObject) -> dict[str, Any]:
    value, count = point["value"], point.get("count") or 1
    least, most = point.get("min"), point.get("max")
    return {
        "name": point["name"],
        "value": value,
        "valueSum": value,
        "valueCount": count,
        "valueMin": value if least is None else least,
        "valueMax": value if most is None else most,
    }
