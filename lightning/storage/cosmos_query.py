"""The queries of the storage port in Cosmos DB's language.

Source: "Queries in Azure Cosmos DB for NoSQL". What callers give is a parameter, never text of the query.
"""

from collections.abc import Sequence
from typing import Any

from lightning.storage.paging import page_position
from lightning.storage.port import Where

#: What the service adds to every document, and when it expires.
_SYSTEM_FIELDS = ("_rid", "_self", "_etag", "_attachments", "_ts", "ttl")

#: Whose documents there are behind the user ``@after``, once for each document.
USERS_BEHIND = 'SELECT c["userID"] FROM c WHERE c["userID"] > @after ORDER BY c["userID"] ASC'


class Query:
    """The text of a query and its parameters.

    Parameters:
      partition: Whose documents; None is everybody's.
      where: What they must satisfy.
      order_by: What they are ordered by, and then by id and user.
      descending: Largest first.
      page: The token of the page before.
    """

    def __init__(
        self,
        partition: str | None,
        where: Sequence[Where],
        order_by: str,
        *,
        descending: bool,
        page: str | None,
    ) -> None:
        self.order_by = order_by
        self.parameters: list[dict[str, object]] = []
        conditions = [self._condition(each) for each in where]
        if partition is not None:
            conditions.append(f"{_path('userID')} = {self._parameter(partition)}")
        if order_by not in {"id", *(each.field for each in where)}:
            conditions.append(f"IS_DEFINED({_path(order_by)}) AND NOT IS_NULL({_path(order_by)})")
        if page is not None:
            conditions.append(self._beyond(order_by, ">" if not descending else "<", page))
        direction = "DESC" if descending else "ASC"
        order = ", ".join(f"{_path(field)} {direction}" for field in _order(order_by))
        condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        self.text = f"SELECT * FROM c{condition} ORDER BY {order}"  # noqa: S608 -- of declared names alone

    def _parameter(self, value: object) -> str:
        name = f"@p{len(self.parameters)}"
        self.parameters.append({"name": name, "value": value})
        return name

    def _condition(self, condition: Where) -> str:
        if condition.compare != "in":
            return f"{_path(condition.field)} {condition.compare} {self._parameter(condition.value)}"
        choices = ", ".join(self._parameter(each) for each in condition.value if each is not None)
        return f"{_path(condition.field)} IN ({choices})"

    def _beyond(self, order_by: str, compare: str, page: str) -> str:
        """Say that a document stands behind a place: by the first field, or by the next where that ties."""
        place = page_position(page)
        values = {"id": place[1], "userID": place[2], order_by: place[0]}
        ties: list[str] = []
        choices: list[str] = []
        for field in _order(order_by):
            value = self._parameter(values[field])
            choices.append(" AND ".join([*ties, f"{_path(field)} {compare} {value}"]))
            ties.append(f"{_path(field)} = {value}")
        return f"({' OR '.join(f'({choice})' for choice in choices)})"


def _order(order_by: str) -> list[str]:
    return list(dict.fromkeys((order_by, "id", "userID")))


def _path(field: str) -> str:
    return f'c["{field}"]'


def own_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Give a document as it was written, without what the service knows of it besides."""
    return {name: value for name, value in document.items() if name not in _SYSTEM_FIELDS}
