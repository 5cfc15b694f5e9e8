"""The operations on container groups: what each answers."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from ops.emulators.arm.errors import ArmError, transitioning
from ops.emulators.arm.faults import Faults
from ops.emulators.arm.group import Group
from ops.emulators.arm.groups import Groups
from ops.emulators.arm.request import API_VERSION, OPERATION_API_VERSION, Answer, Request


class Gateway:
    """Carries out requests.

    Parameters:
      groups: The container groups.
      faults: What goes wrong.
    """

    def __init__(self, groups: Groups, faults: Faults) -> None:
        self._groups = groups
        self._faults = faults
        self._operations: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "create": self._create,
            "update": self._update,
            "get": self._get,
            "delete": self._delete,
            "list": self._list,
            "logs": self._logs,
            "operation": self._operation,
            "usages": self._usages,
            "start": self._act,
            "stop": self._act,
            "restart": self._act,
        }

    async def answer(self, request: Request) -> Answer:
        """Carry out a request.

        Raises:
          ArmError: It is refused.
        """
        return await self._operations[request.operation](request)

    async def _create(self, request: Request) -> Answer:
        group, new = await self._groups.put(request.place, request.json())
        return Answer(201 if new else 200, group.shown(), _asynchronous(request, group))

    async def _update(self, request: Request) -> Answer:
        return Answer(200, self._groups.patch(request.place, request.json()).shown())

    async def _get(self, request: Request) -> Answer:
        return Answer(200, self._groups.find(request.place).shown())

    async def _act(self, request: Request) -> Answer:
        deployed = await self._groups.act(request.place, request.operation)
        if request.operation == "start" and deployed is not None:
            return Answer(202, None, _asynchronous(request, deployed))
        return Answer(204)

    async def _delete(self, request: Request) -> Answer:
        deleted = await self._groups.delete(request.place)
        if deleted is None:
            return Answer(204)
        group, operation = deleted
        if group.definition.properties.subnet_ids:
            return Answer(202, None, _asynchronous(request, group, operation))
        return Answer(200, group.shown(view=False))

    async def _list(self, request: Request) -> Answer:
        address = request.address
        groups, token = self._groups.listed(address.resource_group, request.query.get("$skiptoken"))
        body: dict[str, Any] = {"value": groups}
        if token is not None:
            path = f"/subscriptions/{quote(address.subscription)}"
            if address.resource_group:
                path += f"/resourceGroups/{quote(address.resource_group)}"
            path += "/providers/Microsoft.ContainerInstance/containerGroups"
            body["nextLink"] = f"{request.origin}{path}?api-version={API_VERSION}&$skiptoken={token}"
        return Answer(200, body)

    async def _operation(self, request: Request) -> Answer:
        name = request.address.operation
        return Answer(200, {"id": name, "name": name, **self._groups.operation(name)})

    async def _usages(self, request: Request) -> Answer:
        usages = self._groups.usages(request.address.subscription, request.address.location)
        return Answer(200, {"value": usages})

    async def _logs(self, request: Request) -> Answer:
        group = self._groups.find(request.place)
        name = request.address.container
        if name != group.definition.container.name:
            raise ArmError(404, "ContainerNotFound", f"The container '{name}' was not found.")
        if group.settling:
            raise transitioning(request.address.name)
        tail = request.query.get("tail")
        if tail is not None and not (tail.isdecimal() and int(tail) > 0):
            raise ArmError(400, "InvalidTail", "tail must be a whole number above 0.")
        log = await group.container.read()
        content = log.excerpt(
            stopped=group.container.ended,
            tail=None if tail is None else int(tail),
            kept_lines=self._faults.kept_lines(request.address.name),
            timestamps=request.query.get("timestamps", "").lower() == "true",
        )
        return Answer(200, {"content": content})


def _asynchronous(request: Request, group: Group, operation: str | None = None) -> dict[str, str]:
    """Say where the operation can be asked about."""
    url = (
        f"{request.origin}/subscriptions/{quote(request.address.subscription)}"
        f"/providers/Microsoft.ContainerInstance/locations/{quote(group.definition.location)}"
        f"/operations/{operation or group.operation}?api-version={OPERATION_API_VERSION}"
    )
    return {"Azure-AsyncOperation": url, "Retry-After": "1"}
