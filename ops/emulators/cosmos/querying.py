"""Answers a query a page at a time, as the gateway or one range does.

Sources: "Pagination in Azure Cosmos DB for NoSQL" (pages may be short or empty while there is a
continuation), "Query a container in Azure Cosmos DB" (cross-partition queries), "Indexing policies
in Azure Cosmos DB" (ORDER BY needs an index).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ops.emulators.cosmos import charges
from ops.emulators.cosmos.container import Container, Partition, Range
from ops.emulators.cosmos.continuation import Continuation, digest, read_token
from ops.emulators.cosmos.errors import (
    CROSS_PARTITION_QUERY_NOT_SERVABLE,
    PARTITION_KEY_RANGE_GONE,
    CosmosError,
    outside_subset,
)
from ops.emulators.cosmos.partition_key import Key
from ops.emulators.cosmos.search import Search
from ops.emulators.cosmos.sql.evaluate import Parameters, evaluator
from ops.emulators.cosmos.sql.nodes import ArrayOf, Count, Literal, Node, ObjectOf, Path, Query
from ops.emulators.cosmos.sql.parser import parse_query
from ops.emulators.cosmos.sql.plan import is_fanned_out, number
from ops.emulators.cosmos.values import UNDEFINED
from ops.emulators.cosmos.versions import Collection, Version

DEFAULT_PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024

#: A page ends after so many documents were looked at, as the service ends one after so long a time.
MAX_LOADED_PER_PAGE = 5000


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query with its scope.

    Parameters:
      text: The query.
      parameters: Its parameters, by name with the ``@``.
      key: The partition; None: several.
      range_id: The range, when the SDK fans the query out.
      cross_partition: Whether several partitions are allowed.
      page_items: At most so many results; None: as many as suits.
      token: The continuation token.
    """

    text: str
    parameters: Parameters
    key: Key | None
    range_id: str | None
    cross_partition: bool
    page_items: int | None
    token: str | None


@dataclass(slots=True)
class ResultPage:
    """What a page holds: results as JSON."""

    results: list[bytes]
    token: str | None
    charge: float
    range: Range


def run_query(
    container: Container, request: QueryRequest, lsn_of: Callable[[Range], int], now: float
) -> ResultPage:
    """Answer one page.

    Parameters:
      container: The container.
      request: The query.
      lsn_of: Gives the sequence number that a range is read at.
      now: The time, in seconds since 1970.

    Raises:
      CosmosError: The query is invalid, outside the subset or needs an index that there is not.
    """
    query = parse_query(request.text)
    _require_order(container, query)
    name = digest(request.text, dict(request.parameters))
    ranges = _ranges(container, request, query)
    start = _start(request, query, name, ranges)
    holder = next(holder for holder in ranges if holder.id == start.range)
    search = Search(
        _collection(holder, request, container),
        holder,
        query,
        request.parameters,
        lsn_of(holder),
        now,
    )
    if query.count is not None:
        return _counted(search, query, request, holder)
    page = _Page(query, request, start)
    finished = page.fill(search)
    following = ranges[ranges.index(holder) + 1 :]
    token = None
    if not finished:
        token = page.continuation(holder.id).token()
    elif following and page.left != 0:
        token = Continuation(name, following[0].id, None, page.skip, page.left).token()
    return ResultPage(page.results, token, charges.query(page.loaded, page.size), holder)


def _require_order(container: Container, query: Query) -> None:
    """Check that ORDER BY has its index."""
    if len({order.descending for order in query.order}) > 1:
        raise outside_subset("ORDER BY in both directions")
    paths = tuple(
        tuple(step if isinstance(step, str) else "[]" for step in order.path.steps) for order in query.order
    )
    if len(paths) == 1 and not container.policy.includes(paths[0]):
        raise CosmosError(
            400, f"The index path corresponding to the specified order-by item is excluded: {paths[0][0]}."
        )
    if len(paths) > 1 and not container.policy.orders_by(paths, descending=query.order[0].descending):
        raise CosmosError(
            400,
            "The order by query does not have a corresponding composite index that it can be served from.",
        )


def _ranges(container: Container, request: QueryRequest, query: Query) -> list[Range]:
    if request.key is not None:
        return [container.range_of(request.key)]
    if request.range_id is not None:
        found = [holder for holder in container.ranges if holder.id == request.range_id]
        if not found:
            raise CosmosError(410, "The partition key range is gone.", substatus=PARTITION_KEY_RANGE_GONE)
        return found
    if not request.cross_partition:
        raise CosmosError(
            400,
            "Cross partition query is required but disabled. Please set"
            " x-ms-documentdb-query-enablecrosspartition to true, specify x-ms-documentdb-partitionkey,"
            " or revise your query to avoid this exception.",
        )
    if is_fanned_out(query):
        raise CosmosError(
            400,
            "The provided cross partition query can not be directly served by the gateway.",
            substatus=CROSS_PARTITION_QUERY_NOT_SERVABLE,
        )
    return container.ranges


def _collection(holder: Range, request: QueryRequest, container: Container) -> Collection:
    if request.key is None:
        return holder
    return holder.partitions.get(request.key) or Partition(len(container.unique_paths))


def _start(request: QueryRequest, query: Query, name: str, ranges: list[Range]) -> Continuation:
    if request.token is not None:
        return read_token(request.token, name, {holder.id for holder in ranges}, len(query.order))
    offset, limit, top = (number(node, request.parameters) for node in (query.offset, query.limit, query.top))
    limits = [given for given in (limit, top) if given is not None]
    return Continuation(name, ranges[0].id, None, offset or 0, min(limits, default=None))


class _Page:
    """Takes results until the page is full."""

    def __init__(self, query: Query, request: QueryRequest, start: Continuation) -> None:
        self._start = start
        whole = query.select == Path()
        self._select = None if whole else evaluator(query.select, request.parameters)
        self._room = MAX_PAGE_ITEMS if request.page_items is None else request.page_items
        self._last: list[Any] | None = start.after
        self.skip = start.skip
        self.left = start.left
        self.results: list[bytes] = []
        self.loaded = 0
        self.size = 0

    def fill(self, search: Search) -> bool:
        """Take results. Returns whether there can be no more in this range."""
        for found in search.run(self._start.after):
            if self._is_full():
                return self.left == 0
            self.loaded += 1
            self._last = list(found.key)
            if found.matches:
                self._add(found.version)
        return True

    def _is_full(self) -> bool:
        return (
            self.left == 0
            or len(self.results) >= self._room
            or self.size >= MAX_PAGE_BYTES
            or self.loaded >= MAX_LOADED_PER_PAGE
        )

    def _add(self, version: Version) -> None:
        if self._select is None:
            result = version.raw
        else:
            value = self._select(version.body)
            if value is UNDEFINED:
                return
            result = orjson.dumps(value)
        if self.skip:
            self.skip -= 1
            return
        self.results.append(result)
        self.size += len(result)
        if self.left is not None:
            self.left -= 1

    def continuation(self, range_id: str) -> Continuation:
        """Say where the next page begins."""
        return Continuation(self._start.query, range_id, self._last, self.skip, self.left)


def _counted(search: Search, query: Query, request: QueryRequest, holder: Range) -> ResultPage:
    argument = None if query.count is None else query.count.argument
    counts = evaluator(argument or Literal(1), request.parameters)
    loaded = total = 0
    for found in search.run(None):
        loaded += 1
        total += found.matches and counts(found.version.body) is not UNDEFINED
    result = evaluator(_with_count(query.select, total), request.parameters)({})
    return ResultPage([orjson.dumps(result)], None, charges.query(loaded, 0), holder)


def _with_count(node: Node, total: int) -> Node:
    match node:
        case Count():
            return Literal(total)
        case ArrayOf(elements=elements):
            return ArrayOf(tuple(_with_count(part, total) for part in elements))
        case ObjectOf(members=members):
            return ObjectOf(tuple((name, _with_count(part, total)) for name, part in members))
        case _:
            return node
