"""Storage on Azure Cosmos DB for NoSQL, by the official SDK.

A partition is a user, a batch is a transactional batch, an etag is the document's. Reads carry the newest
session token that this process knows of, its own or one that came with a message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

import orjson
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.cosmos.aio import ContainerProxy
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosResourceNotFoundError
from opentelemetry.metrics import get_meter

from lightning.errors import LightningError, Transient
from lightning.storage.cosmos_account import Account
from lightning.storage.cosmos_errors import (
    MAY_BE_DONE,
    NOT_CAUGHT_UP,
    asked_again,
    failure,
    headers_of,
    sub_status_of,
)
from lightning.storage.cosmos_groups import Groups
from lightning.storage.cosmos_integers import restored, storable
from lightning.storage.cosmos_query import USERS_BEHIND, Query, own_fields
from lightning.storage.cosmos_session import SessionTokens
from lightning.storage.cosmos_version import PARTITION as VERSION_PARTITION
from lightning.storage.paging import page_token
from lightning.storage.port import (
    CONTAINERS,
    Body,
    Build,
    Create,
    Delete,
    Operation,
    Page,
    Replace,
    Stored,
    Upsert,
    Where,
)
from lightning.storage.rules import (
    MAX_PAGE,
    MAX_PAGE_BYTES,
    asks_for_nothing,
    check_batch,
    check_limit,
    check_query,
    document_id,
    is_document_id,
)
from lightning.telemetry import names

#: Whatever is asked is answered within so long, if only by an error.
ANSWER_SECONDS: Final = 10.0

#: What is refused for the moment is asked again for so long, if the account names no longer wait.
REFUSED_SECONDS: Final = 3.0

#: A read whose connection broke is asked so often, as it changes nothing.
READ_ATTEMPTS: Final = 3

#: So many documents are remembered that were not there; then the one asked for longest ago is forgotten.
MAX_ABSENT: Final = 10_000

T = TypeVar("T")


class CosmosStorage:
    """The storage port on Azure Cosmos DB.

    Parameters:
      account: Where the containers are; closed with the store.
      expire_seconds: How long after their last write documents that are over are removed; None never.
    """

    charges: ClassVar[bool] = True

    def __init__(self, account: Account, *, expire_seconds: int | None = None) -> None:
        self._account = account
        self._expire_seconds = expire_seconds
        self._sessions = {name: SessionTokens() for name in CONTAINERS}
        self._absent: dict[tuple[str, str, str], None] = {}
        self._groups = Groups(self._current, self._apply)
        self._charges = get_meter(__name__).create_histogram(
            names.COSMOS_REQUEST_CHARGE, unit="{request_unit}", description="Request units of an operation"
        )

    async def get(self, container: str, partition: str, id: str) -> Stored | None:
        """Read one document by a point read; see `Storage.get`.

        That there is none is asked again where it is certain: somebody who was just told of the document by
        another process would otherwise hear that it does not exist. What was not there when it was last asked
        for is asked for there at once.
        """
        if not is_document_id(id):
            return None
        key = (container, partition, id)
        if key not in self._absent:
            found = await self._read(container, partition, id)
            if found is not None:
                return found
        found = await self._current(container, partition, id)
        self._absent.pop(key, None)
        if found is None:
            if len(self._absent) >= MAX_ABSENT:
                del self._absent[next(iter(self._absent))]
            self._absent[key] = None
        return found

    async def batch(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply all operations or none; see `Storage.batch`."""
        check_batch(partition, operations)
        if not operations:
            await self._read(container, partition, "none")
            return []
        return await self._apply(container, partition, operations)

    async def batch_on(self, container: str, partition: str, pivot: str, build: Build) -> list[str]:
        """Apply what ``build`` makes of the pivot, held by its etag; see `Storage.batch_on`."""
        return await self._groups.join((container, partition, pivot), build)

    async def query(
        self,
        container: str,
        partition: str | None,
        where: Sequence[Where] = (),
        *,
        order_by: str = "id",
        descending: bool = False,
        limit: int = 100,
        page: str | None = None,
    ) -> Page:
        """Read documents in order; see `Storage.query`."""
        check_query(container, where, order_by, limit)
        query = Query(partition, where, order_by, descending=descending, page=page)
        if asks_for_nothing(where):
            return Page([], None)

        async def ask(proxy: ContainerProxy) -> Page:
            return await self._page(proxy, container, partition, query, limit)

        return await self._ask(container, "query_items", ask, attempts=READ_ATTEMPTS)

    async def partitions(self, container: str, *, after: str = "", limit: int = 100) -> list[str]:
        """List the users who have documents; see `Storage.partitions`.

        Asked is for one page of documents, of which only the user is sent, behind the last user that is
        known: users with few documents come many at a time, and of the others no more than a page is read.
        """
        check_limit(limit)

        async def ask(proxy: ContainerProxy) -> list[str]:
            return await self._users_behind(proxy, container, after, limit)

        return await self._ask(container, "query_items", ask, attempts=READ_ATTEMPTS)

    def session(self, container: str) -> str | None:
        """Give the newest session token known here; see `Storage.session`."""
        return self._sessions[container].text

    def resume(self, container: str, token: str) -> None:
        """Let no read from now on be older than the token; see `Storage.resume`."""
        self._sessions[container].merge(token)

    async def close(self) -> None:
        """Finish what is under way, and let go of the connections."""
        await self._groups.close()
        await self._account.close()

    async def _read(self, container: str, partition: str, id: str) -> Stored | None:
        async def ask(proxy: ContainerProxy) -> dict[str, Any] | None:
            try:
                found = await proxy.read_item(id, partition, **self._session_of(container))
            except CosmosResourceNotFoundError as absent:
                if sub_status_of(absent):
                    raise
                self._note(container, "read_item", headers_of(absent))
                return None
            self._note(container, "read_item", found.get_response_headers())
            return found

        document = await self._ask(container, "read_item", ask, attempts=READ_ATTEMPTS)
        return None if document is None else _stored(document)

    async def _current(self, container: str, partition: str, id: str) -> Stored | None:
        """Read a document as a batch would meet it: by a batch, where batches are carried out.

        A point read may be answered by a replica that is behind, as far as the session token allows.
        """
        if not is_document_id(id):
            return None

        async def ask(proxy: ContainerProxy) -> dict[str, Any] | None:
            try:
                found = await proxy.execute_item_batch(
                    [("read", (id,))], partition, **self._session_of(container)
                )
            except CosmosBatchOperationError as absent:
                if absent.status_code != 404:
                    raise
                self._note(container, "read_batch", headers_of(absent))
                return None
            self._note(container, "read_batch", found.get_response_headers())
            return found[0]["resourceBody"]

        document = await self._ask(container, "read_batch", ask, attempts=READ_ATTEMPTS)
        return None if document is None else _stored(document)

    async def _apply(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        wire = [self._wire(container, operation) for operation in operations]

        async def ask(proxy: ContainerProxy) -> list[dict[str, Any]]:
            done = await proxy.execute_item_batch(wire, partition, **self._session_of(container))
            self._note(container, "execute_batch", done.get_response_headers())
            return done

        ids = [document_id(operation) for operation in operations]
        results = await self._ask(container, "execute_batch", ask, ids=ids)
        return [
            "" if isinstance(operation, Delete) else result["eTag"]
            for operation, result in zip(operations, results, strict=True)
        ]

    async def _page(
        self, proxy: ContainerProxy, container: str, partition: str | None, query: Query, limit: int
    ) -> Page:
        def note(headers: Mapping[str, str], _: object) -> None:
            self._note(container, "query_items", headers)

        options: dict[str, Any] = {} if partition is None else {"partition_key": partition}
        items: list[Stored] = []
        size = 0
        async for document in proxy.query_items(
            query.text,
            parameters=query.parameters,
            max_item_count=limit + 1,
            response_hook=note,
            **options,
            **self._session_of(container),
        ):
            if document["userID"] == VERSION_PARTITION:
                continue  # it is nobody's
            if len(items) == limit or size >= MAX_PAGE_BYTES:
                return Page(items, page_token(items[-1].body, query.order_by))
            items.append(_stored(document))
            size += len(orjson.dumps(items[-1].body))
        return Page(items, None)

    async def _users_behind(self, proxy: ContainerProxy, container: str, after: str, limit: int) -> list[str]:
        def note(headers: Mapping[str, str], _: object) -> None:
            self._note(container, "query_items", headers)

        rows = proxy.query_items(
            USERS_BEHIND,
            parameters=[{"name": "@after", "value": after}],
            max_item_count=MAX_PAGE,
            response_hook=note,
            **self._session_of(container),
        )
        found: dict[str, None] = {}
        read = 0
        async for row in rows:
            read += 1
            if row["userID"] == VERSION_PARTITION:
                continue  # it is nobody's
            found[row["userID"]] = None
            if read == MAX_PAGE or len(found) == limit:
                break
        return list(found)

    async def _ask(
        self,
        container: str,
        operation: str,
        ask: Callable[[ContainerProxy], Awaitable[T]],
        *,
        ids: Sequence[str] = (),
        attempts: int = 1,
    ) -> T:
        """Ask the account, again where that is certain to do no harm, and within bounds.

        Parameters:
          container: The container that is asked.
          operation: What is asked, for the metric.
          ask: Asks.
          ids: The document of each operation of a batch.
          attempts: How often it is asked when connections break.
        """
        failed: LightningError
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._asked(container, operation, ask, attempts)
        except TimeoutError:
            address = self._account.address
            message = f"Cosmos DB at {address} did not answer in {ANSWER_SECONDS:g} s; {MAY_BE_DONE}"
            failed = Transient(message, retry_after=1, code="store_unavailable")
        except AzureError as error:
            failed = failure(error, ids, address=self._account.address)
        # Raised out here, where the SDK's error, which holds the signed request, is no longer its context.
        raise failed

    async def _asked(
        self, container: str, operation: str, ask: Callable[[ContainerProxy], Awaitable[T]], attempts: int
    ) -> T:
        proxy = await self._account.container(container)
        refusals, waited, broken = 0, 0.0, 0
        while True:
            try:
                return await ask(proxy)
            except (ServiceRequestError, ServiceResponseError):
                broken += 1
                if broken >= attempts:
                    raise
                await asyncio.sleep(0.05 * broken)
            except AzureError as error:
                self._note(container, operation, headers_of(error))
                wait = asked_again(error, refusals)
                if wait is None and sub_status_of(error) == NOT_CAUGHT_UP:
                    self._sessions[container].forget()  # as the SDK does: a token may be of what is no more
                waited += wait or 0.0
                if wait is None or waited > REFUSED_SECONDS:
                    raise
                refusals += 1
                await asyncio.sleep(wait)

    def _wire(self, container: str, operation: Operation) -> tuple[Any, ...]:
        """Write an operation as the SDK takes it."""
        match operation:
            case Create(body):
                return ("create", (self._body(container, body),))
            case Replace(body, etag):
                return ("replace", (body["id"], self._body(container, body)), {"if_match_etag": etag})
            case Upsert(body):
                return ("upsert", (self._body(container, body),))
            case Delete(id, etag):
                return ("delete", (id,), {} if etag is None else {"if_match_etag": etag})

    def _body(self, container: str, body: Body) -> Body:
        written = storable(body)
        over = CONTAINERS[container].over
        if self._expire_seconds is None or not over:
            return written
        is_over = all(body.get(field) in values for field, values in over)
        return {**written, "ttl": self._expire_seconds} if is_over else written

    def _session_of(self, container: str) -> dict[str, Any]:
        token = self._sessions[container].text
        return {} if token is None else {"session_token": token}

    def _note(self, container: str, operation: str, headers: Mapping[str, str]) -> None:
        self._sessions[container].merge(headers.get("x-ms-session-token"))
        charge = headers.get("x-ms-request-charge")
        if charge is not None:
            attributes = {names.DB_COLLECTION_NAME: container, names.DB_OPERATION_NAME: operation}
            self._charges.record(float(charge), attributes)


def _stored(document: dict[str, Any]) -> Stored:
    return Stored(restored(own_fields(document)), document["_etag"])
