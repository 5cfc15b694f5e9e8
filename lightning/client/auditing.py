"""The calls about the audit trail, which both clients have."""

from collections.abc import AsyncGenerator, Generator, Mapping

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import AuditPage, AuditRecord


class AuditCalls(Caller):
    """What a client can ask of the audit trail."""

    def audit_page(self, **parameters: str | int) -> AuditPage:
        """Read a page: of ``event``, or of all events of ``user``; ``since``, ``after``, ``limit``."""
        return self._call(requests.audit(parameters))

    def audit(self, **parameters: str | int) -> Generator[AuditRecord]:
        """Give all records, a page at a time; the parameters are those of `audit_page`."""
        after: int | None = int(parameters.get("after", 0))
        while after is not None:
            page = self.audit_page(**_behind(parameters, after))
            yield from page["records"]
            after = page["next"]


class AsyncAuditCalls(AsyncCaller):
    """What a client for asyncio can ask of the audit trail; see `AuditCalls`."""

    async def audit_page(self, **parameters: str | int) -> AuditPage:
        """Read a page; see `AuditCalls.audit_page`."""
        return await self.call(requests.audit(parameters))

    async def audit(self, **parameters: str | int) -> AsyncGenerator[AuditRecord]:
        """Give all records, a page at a time; see `AuditCalls.audit`."""
        after: int | None = int(parameters.get("after", 0))
        while after is not None:
            page = await self.audit_page(**_behind(parameters, after))
            for record in page["records"]:
                yield record
            after = page["next"]


def _behind(parameters: Mapping[str, str | int], after: int) -> dict[str, str | int]:
    return {**parameters, "after": after}
