"""All container groups of one subscription, and what can be done with them.

Sources: "Container Groups" (REST reference), "Update containers in Azure Container Instances".
"""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from ops.emulators.arm.address import PROVIDER
from ops.emulators.arm.definition import Definition, is_label
from ops.emulators.arm.errors import ArmError, invalid, transitioning
from ops.emulators.arm.faults import Faults
from ops.emulators.arm.group import Group, Place
from ops.emulators.arm.machine import Machine
from ops.emulators.arm.parsing import check_tags, parse_definition
from ops.emulators.arm.quotas import Quotas

#: Groups in one page of a list.
PAGE_SIZE: Final = 50

#: Operations that can be asked about after their group was deleted.
KEPT_OPERATIONS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Deletion:
    """An operation that is over, as its group is gone."""

    id: str


class Groups:
    """The container groups.

    Parameters:
      machine: What runs them.
      quotas: What the subscription may have.
      faults: What is in force.
      page_size: Groups in one page of a list.
    """

    def __init__(self, machine: Machine, quotas: Quotas, faults: Faults, page_size: int = PAGE_SIZE) -> None:
        self._machine = machine
        self._quotas = quotas
        self._faults = faults
        self._page_size = page_size
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._operations: OrderedDict[str, Group | Deletion] = OrderedDict()
        self._busy: set[tuple[str, str, str]] = set()
        self.deployments = 0

    def find(self, place: Place) -> Group:
        """Give a group.

        Raises:
          ArmError: 404.
        """
        if (group := self._groups.get(place.key)) is None:
            message = (
                f"The Resource '{PROVIDER}/containerGroups/{place.name}' under resource group"
                f" '{place.resource_group}' was not found. For more details please go to"
                " https://aka.ms/ARMResourceNotFoundFix"
            )
            raise ArmError(404, "ResourceNotFound", message)
        return group

    async def put(self, place: Place, body: object) -> tuple[Group, bool]:
        """Create a group, or run it anew by another definition.

        Returns:
          The group, and whether it is new.

        Raises:
          ArmError: It is refused.
        """
        if not is_label(place.name):
            message = f"The container group name '{place.name}' is invalid."
            raise ArmError(400, "InvalidContainerGroupName", message)
        definition = parse_definition(body)
        self._machine.check(definition, place.name)
        group = self._groups.get(place.key)
        if group is None:
            others = self._in_region(definition.location)
            self._quotas.admit(definition, others)
            group = self._groups[place.key] = Group(place, definition, self._machine, self._faults)
            self._deploy(group, definition)
            return group, True
        group.require_settled()
        _require_updatable(group, definition)
        async with self._alone(group):
            await group.discard()
            self._deploy(group, definition)
        return group, False

    def _deploy(self, group: Group, definition: Definition | None = None) -> None:
        group.deploy(definition)
        self.deployments += 1
        self._note(group.operation, group)

    def patch(self, place: Place, body: object) -> Group:
        """Replace a group's tags, and nothing else.

        Raises:
          ArmError: It is refused.
        """
        group = self.find(place)
        if not isinstance(body, dict):
            raise invalid("it is not a JSON object")
        fields = cast("dict[str, Any]", body)
        tags = fields.get("tags")
        if fields.keys() - {"tags", "location"} or not _is_words(tags):
            raise invalid("an update is of tags, each with a text as its value, and of nothing else")
        check_tags(tags)
        group.definition = group.definition.model_copy(update={"tags": tags})
        return group

    async def delete(self, place: Place) -> tuple[Group, str] | None:
        """Delete a group.

        Returns:
          What it was and the operation; None: there was none.

        Raises:
          ArmError: It is refused.
        """
        if (group := self._groups.get(place.key)) is None:
            return None
        async with self._alone(group):
            self._quotas.deletions.take()
            await group.discard()
            del self._groups[place.key]
        operation = f"{group.operation}-delete"
        self._note(operation, Deletion(operation))
        return group, operation

    async def act(self, place: Place, action: str) -> Group | None:
        """Start, stop or restart a group.

        Returns:
          The group, if it is being deployed by that.

        Raises:
          ArmError: It is refused.
        """
        group = self.find(place)
        group.require_settled()
        async with self._alone(group):
            if action == "stop":
                await group.halt()
                return None
            if action == "start" and group.state == "Running":
                return None
            await group.discard()
            self._deploy(group)
        return group

    def _alone(self, group: Group) -> "_Alone":
        return _Alone(self._busy, group)

    def listed(self, resource_group: str, skip_token: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Give one page of the groups, of one resource group or, if it is empty, of all.

        Returns:
          The groups without their instance views, and the token of the next page.

        Raises:
          ArmError: The token is none.
        """
        after = _token_key(skip_token)
        wanted = sorted(key for key in self._groups if key > after and resource_group.lower() in {"", key[1]})
        page = wanted[: self._page_size]
        token = _token(page[-1]) if len(wanted) > len(page) else None
        return [self._groups[key].shown(view=False) for key in page], token

    def operation(self, id: str) -> dict[str, Any]:
        """Say how an operation is getting on.

        Raises:
          ArmError: 404.
        """
        found = self._operations.get(id)
        if found is None:
            raise ArmError(404, "OperationNotFound", f"The operation '{id}' was not found.")
        if isinstance(found, Deletion) or found.operation != id:
            return {"status": "Succeeded"}
        answer: dict[str, Any] = {"status": found.provisioning}
        if found.error is not None:
            answer["error"] = found.error.body["error"]
        return answer

    def usages(self, subscription: str, region: str) -> list[dict[str, Any]]:
        """Say what is used in a region."""
        return self._quotas.usages(subscription, region, self._in_region(region))

    def _in_region(self, region: str) -> Iterable[Definition]:
        return [g.definition for g in self._groups.values() if g.definition.location == region]

    def _note(self, operation: str, about: Group | Deletion) -> None:
        self._operations[operation] = about
        while len(self._operations) > KEPT_OPERATIONS:
            self._operations.popitem(last=False)


class _Alone:
    """Refuses a second operation on a group while one awaits something."""

    def __init__(self, busy: set[tuple[str, str, str]], group: Group) -> None:
        self._busy = busy
        self._group = group

    async def __aenter__(self) -> None:
        if self._group.place.key in self._busy:
            raise transitioning(self._group.place.name)
        self._busy.add(self._group.place.key)

    async def __aexit__(self, *_error: object) -> None:
        self._busy.discard(self._group.place.key)


def _require_updatable(group: Group, definition: Definition) -> None:
    """Refuse a change of what cannot be changed.

    Raises:
      ArmError: 400 or 409.
    """
    name, old = group.place.name, group.definition
    if definition.location != old.location:
        message = (
            f"The resource '{name}' already exists in location '{old.location}' in resource group"
            f" '{group.place.resource_group}'. A resource with the same name cannot be created in location"
            f" '{definition.location}'. Please select a new resource name."
        )
        raise ArmError(409, "InvalidResourceLocation", message)
    if definition.fixed() != old.fixed():
        message = (
            f"The updates on container group '{name}' are invalid. If you are going to update the os type,"
            " restart policy, network profile, CPU, memory or GPU resources for a container group, you must"
            " delete it first and then create a new one."
        )
        raise ArmError(400, "InvalidContainerGroupUpdate", message)


def _is_words(tags: object) -> bool:
    return isinstance(tags, dict) and all(
        isinstance(value, str) and len(value) <= 256 for value in cast("dict[str, Any]", tags).values()
    )


def _token(key: tuple[str, str, str]) -> str:
    return base64.urlsafe_b64encode("/".join(key).encode()).decode().rstrip("=")


def _token_key(token: str | None) -> tuple[str, str, str]:
    if token is None:
        return ("", "", "")
    try:
        padded = token + "=" * (-len(token) % 4)
        subscription, resource_group, name = base64.urlsafe_b64decode(padded).decode().split("/")
    except (binascii.Error, ValueError):
        raise ArmError(400, "InvalidSkipToken", "The skip token is none of this list.") from None
    return (subscription, resource_group, name)
