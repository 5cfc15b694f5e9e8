"""The query plan that the gateway gives to an SDK that will fan a query out by itself.

Source: the requests and answers of the SDK's own pipeline: it merges by ``orderByItems``, adds up
``item`` of aggregates, and applies TOP, OFFSET and LIMIT itself.
"""

from typing import Any

from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.sql.evaluate import Parameters, constant
from ops.emulators.cosmos.sql.nodes import Node, Query, text_of

WHOLE_KEY_SPACE = {"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}


def query_plan(query: Query, parameters: Parameters) -> dict[str, Any]:
    """Say how an SDK runs a query over several partition key ranges.

    Parameters:
      query: The query.
      parameters: Its parameters, for numbers given so.
    """
    offset, limit, top = (number(node, parameters) for node in (query.offset, query.limit, query.top))
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": {
            "distinctType": "None",
            "top": top,
            "offset": offset,
            "limit": limit,
            "orderBy": ["Descending" if order.descending else "Ascending" for order in query.order],
            "orderByExpressions": [text_of(order.path) for order in query.order],
            "groupByExpressions": [],
            "groupByAliases": [],
            "aggregates": ["Count"] if query.count else [],
            "groupByAliasToAggregateType": {},
            "rewrittenQuery": _rewritten(query, offset, limit, top),
            "hasSelectValue": query.is_value,
            "hasNonStreamingOrderBy": False,
        },
        "queryRanges": [WHOLE_KEY_SPACE],
    }


def is_fanned_out(query: Query) -> bool:
    """Say whether the gateway cannot serve a query over several partitions by itself."""
    return bool(query.order or query.count or query.top or query.offset)


def number(node: Node | None, parameters: Parameters) -> int | None:
    """Give the number of a TOP, OFFSET or LIMIT.

    Raises:
      CosmosError: The parameter is missing or no whole number.
    """
    if node is None:
        return None
    value = constant(node, parameters)
    if type(value) is not int or value < 0:
        raise CosmosError(
            400, "The value of TOP, OFFSET and LIMIT must be a whole number that is not negative."
        )
    return value


def _rewritten(query: Query, offset: int | None, limit: int | None, top: int | None) -> str:
    page = "" if limit is None else f"OFFSET 0 LIMIT {(offset or 0) + limit}"
    if query.count:
        select = f'VALUE [{{"item": {text_of(query.count)}}}]'
    elif query.order:
        items = ", ".join(f'{{"item": {text_of(order.path)}}}' for order in query.order)
        select = f"c._rid, [{items}] AS orderByItems, {text_of(query.select)} AS payload"
    elif page:
        select = f"VALUE {text_of(query.select)}"
    else:
        return ""  # each range answers the query as it stands
    first = "" if top is None else f"TOP {top}"
    return " ".join(filter(None, ["SELECT", first, select, "FROM c", _where(query), _order(query), page]))


def _where(query: Query) -> str:
    return "" if query.where is None else f"WHERE {text_of(query.where)}"


def _order(query: Query) -> str:
    orders = [f"{text_of(order.path)} {'DESC' if order.descending else 'ASC'}" for order in query.order]
    return "ORDER BY " + ", ".join(orders) if orders else ""
