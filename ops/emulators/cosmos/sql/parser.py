"""Reads a query, clause by clause.

Source: "Getting started with queries", and the pages of its clauses, of Azure Cosmos DB for NoSQL.
"""

from functools import lru_cache

from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.sql.expressions import Expressions
from ops.emulators.cosmos.sql.nodes import Literal, Node, ObjectOf, Order, Parameter, Path, Query

MAX_QUERY_CHARACTERS = 512 * 1024


@lru_cache(maxsize=512)
def parse_query(text: str) -> Query:
    """Read a query.

    Raises:
      CosmosError: It is not in the language, or outside the subset.
    """
    return _Parser(text).query()


@lru_cache(maxsize=512)
def parse_condition(text: str) -> Node | None:
    """Read the condition of a patch: ``FROM c WHERE ...``.

    Raises:
      CosmosError: It is not in the language, or outside the subset.
    """
    return _Parser(text).condition()


class _Parser(Expressions):
    """The clauses of a query, or of the condition of a patch."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_QUERY_CHARACTERS:
            raise CosmosError(400, f"The query is longer than {MAX_QUERY_CHARACTERS} characters.")
        super().__init__(text)

    def query(self) -> Query:
        self._expect("SELECT")
        top = self._number() if self._accept("TOP") else None
        start = self._place
        self._skip_to_from()
        self._from()
        after = self._place
        self._place = start  # the alias is known now
        select, is_value = self._select()
        self._place = after
        where = self._expression() if self._accept("WHERE") else None
        order = self._order() if self._accept("ORDER") else ()
        offset = limit = None
        if self._accept("OFFSET"):
            offset = self._number()
            self._expect("LIMIT")
            limit = self._number()
        self._end()
        query = Query(select, is_value, where, order, top, offset, limit)
        if query.count and (order or top or offset):
            raise outside_subset("COUNT together with ORDER BY, TOP or OFFSET")
        return query

    def condition(self) -> Node | None:
        self._from()
        where = self._expression() if self._accept("WHERE") else None
        self._end()
        return where

    def _skip_to_from(self) -> None:
        while self._next.kind != "end" and not (self._next.kind == "keyword" and self._next.text == "FROM"):
            self._place += 1

    def _from(self) -> None:
        self._expect("FROM")
        self._alias = self._name()
        if self._accept("AS") or self._next.kind == "name":
            self._alias = self._name()

    def _end(self) -> None:
        if self._next.kind != "end":
            raise self._unexpected()

    def _select(self) -> tuple[Node, bool]:
        if self._accept("*"):
            selected: tuple[Node, bool] = (Path(), True)
        elif self._accept("VALUE"):
            selected = (self._operand(), True)
        else:
            members = self._separated(self._selected)
            named = [(name or f"${place}", node) for place, (name, node) in enumerate(members, 1)]
            selected = (ObjectOf(tuple(named)), False)
        if not (self._next.kind == "keyword" and self._next.text == "FROM"):
            raise self._unexpected()
        return selected

    def _selected(self) -> tuple[str, Node]:
        node = self._operand()
        if self._accept("AS") or self._next.kind == "name":
            return self._name(), node
        if isinstance(node, Path):
            return (str(node.steps[-1]) if node.steps else self._alias), node
        return "", node

    def _order(self) -> tuple[Order, ...]:
        self._expect("BY")
        return tuple(self._separated(self._ordering))

    def _ordering(self) -> Order:
        path = self._operand()
        if not isinstance(path, Path) or not path.steps:
            raise CosmosError(400, "Unsupported ORDER BY clause. ORDER BY item expression must be a path.")
        return Order(path, self._accept("ASC", "DESC") == "DESC")

    def _number(self) -> Literal | Parameter:
        token = self._take()
        if token.kind == "number" and type(token.value) is int:
            return Literal(token.value)
        if token.kind == "parameter":
            return Parameter(token.text)
        self._place -= 1
        raise self._unexpected()
