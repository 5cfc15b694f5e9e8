"""The gateway: decides what a request asks for, does it and makes the answer.

Source: the REST reference of Azure Cosmos DB; what is outside the subset is refused by name.
"""

from collections.abc import Callable
from typing import Any

import orjson

from ops.emulators.cosmos import charges
from ops.emulators.cosmos.account import Account
from ops.emulators.cosmos.batch import read_operations, run_batch
from ops.emulators.cosmos.clock import Clock
from ops.emulators.cosmos.container import Container, Range
from ops.emulators.cosmos.errors import COLLECTION_RID_MISMATCH, CosmosError, outside_subset
from ops.emulators.cosmos.items import Operation, apply
from ops.emulators.cosmos.querying import MAX_PAGE_ITEMS, QueryRequest, ResultPage, run_query
from ops.emulators.cosmos.request import MAX_BODY_BYTES, Answer, Request
from ops.emulators.cosmos.session import read_lsn, token
from ops.emulators.cosmos.sql import Parameters, parse_query
from ops.emulators.cosmos.sql.plan import query_plan
from ops.emulators.cosmos.transaction import Transaction
from ops.emulators.cosmos.values import as_array, as_object

#: Headers that ask for what is outside the subset.
_REFUSED_HEADERS = {
    "a-im": "the change feed",
    "x-ms-documentdb-pre-trigger-include": "triggers",
    "x-ms-documentdb-post-trigger-include": "triggers",
    "x-ms-start-epk": "feed ranges within a partition key range",
    "x-ms-indexing-directive": "indexing directives",
    "x-ms-dedicatedgateway-max-age": "the dedicated gateway",
}


def operation_of(request: Request) -> str:
    """Name what a request asks for, as faults and statistics do.

    Raises:
      CosmosError: It is outside the subset.
    """
    if request.address.kind != "docs":
        return "metadata"
    if request.method != "POST":
        kinds = {"GET": "query" if request.address.is_feed else "read", "PUT": "replace"}
        kinds |= {"PATCH": "patch", "DELETE": "delete"}
        if request.method in kinds and (request.method == "GET" or not request.address.is_feed):
            return kinds[request.method]
    elif request.address.is_feed:
        if request.flag("x-ms-cosmos-is-query-plan-request"):
            return "plan"
        if request.flag("x-ms-cosmos-is-batch-request"):
            return "batch"
        if request.flag("x-ms-documentdb-isquery"):
            return "query"
        return "upsert" if request.flag("x-ms-documentdb-is-upsert") else "create"
    raise outside_subset(f"{request.method} on {request.address.kind}")


class Gateway:
    """Answers requests that are allowed.

    Parameters:
      account: What there is.
      clock: The time.
    """

    def __init__(self, account: Account, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._documents: dict[str, Callable[[Request, Container, float], Answer]] = {
            "plan": self._plan,
            "batch": self._batch,
            "query": self._query,
            "read": self._read,
        }
        self._metadata: dict[tuple[str, str, bool], Callable[[Request], Answer]] = {
            ("GET", "dbs", True): account.list_databases,
            ("POST", "dbs", True): account.create_database,
            ("GET", "dbs", False): account.read_database,
            ("DELETE", "dbs", False): account.delete_database,
            ("GET", "colls", True): account.list_containers,
            ("POST", "colls", True): account.create_container,
            ("GET", "colls", False): account.read_container,
            ("PUT", "colls", False): account.replace_container,
            ("DELETE", "colls", False): account.delete_container,
            ("GET", "pkranges", True): account.list_ranges,
        }

    def answer(self, request: Request, operation: str, endpoint: str) -> Answer:
        """Do what a request asks for.

        Parameters:
          request: The request.
          operation: Its name, by `operation_of`.
          endpoint: The address by which the account is reached.

        Raises:
          CosmosError: It cannot be done.
        """
        if operation == "metadata":
            return self._answer_metadata(request, endpoint)
        for header, what in _REFUSED_HEADERS.items():
            if header in request.headers:
                raise outside_subset(what)
        container = self._account.container(request)
        intended = request.headers.get("x-ms-cosmos-intended-collection-rid")
        if intended and intended != container.rid:
            raise CosmosError(
                400,
                "The container's resource id differs from the one that the request intends.",
                substatus=COLLECTION_RID_MISMATCH,
            )
        now = self._clock.now()
        gone = container.expire(now)
        if gone and self._account.journal is not None:
            self._account.journal.forget(container, [version.number for version in gone])
        handle = self._documents.get(operation)
        return handle(request, container, now) if handle else self._write(request, container, operation, now)

    def _answer_metadata(self, request: Request, endpoint: str) -> Answer:
        if request.method == "GET" and not request.address.kind:
            return self._account.describe(endpoint)
        if request.flag("x-ms-documentdb-isquery"):
            raise outside_subset(f"queries of {request.address.kind or 'the account'}")
        handle = self._metadata.get((request.method, request.address.kind, request.address.is_feed))
        if handle is None:
            raise outside_subset(f"{request.method} on {request.address.kind or 'the account'}")
        return handle(request)

    # Reads

    def _lsn_of(self, container: Container, request: Request, now: float) -> Callable[[Range], int]:
        level = request.headers.get("x-ms-consistency-level", "")
        session = request.headers.get("x-ms-session-token")
        return lambda held: read_lsn(held, held.visible(container.lag, now), level, session)

    def _read(self, request: Request, container: Container, now: float) -> Answer:
        held = container.range_of(request.key)
        lsn = self._lsn_of(container, request, now)(held)
        headers = _headers(request, held, lsn)
        version = container.find(request.key, request.address.names[2], lsn, now)
        if version is None:
            raise CosmosError(
                404, "Entity with the specified id does not exist in the system.", headers=headers
            )
        headers["etag"] = version.etag
        if request.headers.get("if-none-match") in {"*", version.etag}:
            return Answer(304, headers=headers)
        return Answer(200, version.raw, headers, charges.read(len(version.raw)))

    def _query(self, request: Request, container: Container, now: float) -> Answer:
        text, parameters = _query_of(request)
        key = request.key if "x-ms-documentdb-partitionkey" in request.headers else None
        asked = QueryRequest(
            text,
            parameters,
            key,
            request.headers.get("x-ms-documentdb-partitionkeyrangeid"),
            request.method == "GET" or request.flag("x-ms-documentdb-query-enablecrosspartition"),
            _page_items(request),
            request.headers.get("x-ms-continuation"),
        )
        lsn_of = self._lsn_of(container, request, now)
        page = run_query(container, asked, lsn_of, now)
        return _page_answer(request, container, page, lsn_of(page.range))

    def _plan(self, request: Request, container: Container, now: float) -> Answer:
        del container, now
        text, parameters = _query_of(request)
        return Answer(200, orjson.dumps(query_plan(parse_query(text), parameters)))

    # Writes

    def _write(self, request: Request, container: Container, kind: str, now: float) -> Answer:
        address = request.address
        operation = Operation(
            kind,
            "" if address.is_feed else address.names[2],
            None if kind == "delete" else request.document,
            request.headers.get("if-match"),
            request.headers.get("if-none-match"),
        )
        transaction = Transaction(container, request.key, now)
        held = container.range_of(request.key)
        try:
            result = apply(transaction, operation, container.key_path)
        except CosmosError as error:
            error.headers |= _headers(request, held, held.lsn)
            raise
        headers = _headers(request, held, transaction.commit(self._account.journal))
        if result.version is None:
            return Answer(result.status, b"", headers, result.charge)
        headers["etag"] = result.version.etag
        wanted = request.headers.get("prefer", "").lower() != "return=minimal"
        return Answer(result.status, result.version.raw if wanted else b"", headers, result.charge)

    def _batch(self, request: Request, container: Container, now: float) -> Answer:
        if not request.flag("x-ms-cosmos-batch-atomic") or request.flag(
            "x-ms-cosmos-batch-continue-on-error"
        ):
            raise outside_subset("a batch that is not atomic")
        transaction = Transaction(container, request.key, now)
        held = container.range_of(request.key)
        status, body, charge = run_batch(
            read_operations(request.json),
            transaction,
            container.key_path,
            lambda: transaction.commit(self._account.journal),
        )
        return Answer(status, body, _headers(request, held, held.lsn), charge)


def require_size(body: bytes) -> None:
    """Check the size of a request.

    Raises:
      CosmosError: It is too large.
    """
    if len(body) > MAX_BODY_BYTES:
        raise CosmosError(413, "Request size is too large: a request has at most 2 MB.")


def _headers(request: Request, held: Range, lsn: int) -> dict[str, str]:
    return {
        "x-ms-session-token": token(held, lsn),
        "x-ms-alt-content-path": request.address.container_link,
        "x-ms-documentdb-partitionkeyrangeid": held.id,
        "lsn": str(lsn),
    }


def _query_of(request: Request) -> tuple[str, Parameters]:
    if request.method == "GET":
        return "SELECT * FROM c", {}
    body = request.document
    text, given = body.get("query"), as_array(body.get("parameters") or [])
    if not isinstance(text, str) or given is None:
        raise CosmosError(400, "A query is an object with the string query and the list parameters.")
    parameters: dict[str, Any] = {}
    for entry in given:
        parameter = as_object(entry)
        if parameter is None or not {"name", "value"} <= parameter.keys():
            raise CosmosError(400, "A parameter of a query is an object with name and value.")
        parameters[parameter["name"]] = parameter["value"]
    return text, parameters


def _page_items(request: Request) -> int | None:
    header = request.headers.get("x-ms-max-item-count", "")
    if header in {"", "-1"}:
        return None
    if not header.isdecimal() or int(header) == 0:
        raise CosmosError(400, f"The page size {header} must be a positive whole number, or -1.")
    return min(int(header), MAX_PAGE_ITEMS)


def _page_answer(request: Request, container: Container, page: ResultPage, lsn: int) -> Answer:
    headers = _headers(request, page.range, lsn)
    headers["x-ms-item-count"] = str(len(page.results))
    if page.token is not None:
        headers["x-ms-continuation"] = page.token
    body = b'{"_rid":"%b","Documents":[%b],"_count":%d}' % (
        container.rid.encode(),
        b",".join(page.results),
        len(page.results),
    )
    return Answer(200, body, headers, page.charge)
