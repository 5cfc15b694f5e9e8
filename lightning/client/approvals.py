"""The calls about approvals, which both clients have."""

from typing import Literal

from lightning.client import requests
from lightning.client.caller import AsyncCaller, Caller
from lightning.client.shapes import Approval, ApprovalPage


class ApprovalCalls(Caller):
    """What a client can do with approvals."""

    def approvals(self, **parameters: str | int) -> ApprovalPage:
        """List approvals, those of the latest turn first: ``pending=1``, ``limit``, ``page``."""
        return self._call(requests.approvals(parameters))

    def approval(self, approval_id: str) -> Approval:
        """Read an approval: what a model wants to do, exactly."""
        return self._call(requests.approval(approval_id))

    def decide(self, approval_id: str, decision: Literal["approve", "refuse"], hash: str) -> Approval:
        """Decide on the action of that hash, once; the same decision again changes nothing."""
        return self._call(requests.decide(approval_id, decision, hash))


class AsyncApprovalCalls(AsyncCaller):
    """What a client for asyncio can do with approvals; see `ApprovalCalls`."""

    async def approvals(self, **parameters: str | int) -> ApprovalPage:
        """List approvals, those of the latest turn first: ``pending=1``, ``limit``, ``page``."""
        return await self.call(requests.approvals(parameters))

    async def approval(self, approval_id: str) -> Approval:
        """Read an approval: what a model wants to do, exactly."""
        return await self.call(requests.approval(approval_id))

    async def decide(self, approval_id: str, decision: Literal["approve", "refuse"], hash: str) -> Approval:
        """Decide on the action of that hash, once; the same decision again changes nothing."""
        return await self.call(requests.decide(approval_id, decision, hash))
