"""Runs as container groups of Azure Container Instances, by the official SDK.

Container Instances give each run a machine of its own and hold it to its cores and memory. They know no limit
of time, so that whoever asks about a run enforces it; none of processes; and none of disk below 50 GB. They
take no files but through secret volumes, and keep little of a log: runs fetch their workspace from the run
API, and send it what matters.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias, cast

from azure.core.exceptions import AzureError
from azure.mgmt.containerinstance.models import Resource

from lightning.azure_identity import own_identity
from lightning.containers.aci_connection import Connection, Emulated
from lightning.containers.aci_errors import LOGS_NOT_READY, TRANSITIONING, code_of, failure, status_of
from lightning.containers.aci_group import (
    CONTAINER,
    DEPLOYMENT_TAG,
    ENDED_TAG,
    Place,
    Registry,
    callers_tags,
    define,
)
from lightning.containers.aci_logs import LogWindows
from lightning.containers.aci_state import Ending, Seen, overdue
from lightning.containers.aci_state import status_of as run_status
from lightning.containers.port import NAME, ListedRun, LogPortion, RunSpec, RunStatus, check_time
from lightning.crash import CrashPoint, no_crash
from lightning.errors import LightningError, NotFound
from lightning.keys import secret
from lightning.settings import Settings, SettingsError, SettingsProblem

_MISSING: Final = "ResourceNotFound"

#: The SDK's own types of these two are not whole.
_Create: TypeAlias = Callable[..., Awaitable[object]]
_Update: TypeAlias = Callable[[str, str, Resource], Awaitable[object]]


class AciRunner:
    """The runner port on Azure Container Instances.

    Parameters:
      connection: To Resource Manager; closed with the runner.
      place: Where the container groups are made.
      api_url: Where code in a run finds the run API; None: at the platform's public address.
      crash: Told ``runner:absent`` and ``runner:accepted``.
    """

    kind = "aci"

    def __init__(
        self,
        connection: Connection,
        place: Place,
        *,
        api_url: str | None = None,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._connection = connection
        self._place = place
        self._logs = LogWindows()
        self._crash = crash
        self.api_url = api_url

    async def start(self, spec: RunSpec) -> None:
        """Start a run, once; see `Runner.start`.

        Azure takes a second creation as an update and starts the container again, so it is asked first
        whether there is a group. Two that find none at the same time are one all the same: until the first
        is deployed, which takes seconds, Azure refuses the second. Nobody waits until it is deployed.
        """
        group = define(spec, self._place, asked_at=time.time())
        if await self._find(spec.name) is not None:
            return
        self._crash("runner:absent")
        # the last moment at which it can be asked: Azure knows no condition on a creation
        check_time(spec.start_by)
        groups = self._connection.client.container_groups
        create = cast("_Create", groups.begin_create_or_update)  # pyright: ignore[reportUnknownMemberType]
        try:
            await create(self._place.resource_group, spec.name, group, polling=False)
        except AzureError as error:
            if code_of(error) != TRANSITIONING:  # somebody else was first
                raise self._failure(error) from None
        self._crash("runner:accepted")

    async def status(self, name: str) -> RunStatus:
        """Say where a run stands, and end it if its time is over; see `Runner.status`."""
        seen = await self._seen(name)
        status = run_status(seen)
        ending = overdue(seen, status, time.time())
        if ending is None:
            return status
        await self._end(name, seen, ending)
        return run_status(await self._seen(name))

    async def logs(self, name: str, since: int = 0, *, limit: int = 65536) -> LogPortion:
        """Read output from a byte offset; see `Runner.logs`."""
        if not NAME.fullmatch(name):
            raise _unknown(name)
        operations = self._connection.client.containers
        try:
            logs = await operations.list_logs(self._place.resource_group, name, CONTAINER)
        except AzureError as error:
            if code_of(error) in LOGS_NOT_READY:
                return LogPortion(b"", since, since)
            if status_of(error) == 404:
                await self._seen(name)  # says whether the run or the whole place is not there
                return LogPortion(b"", since, since)
            raise self._failure(error) from None
        return self._logs.portion(name, (logs.content or "").encode(), since, limit)

    async def news(self, name: str, since: int | None = None, *, seconds: float) -> None:
        """Return at once: Azure tells nobody, and counts questions."""

    async def stop(self, name: str) -> None:
        """End a run with all its processes; see `Runner.stop`.

        What Azure is still deploying cannot be stopped: it is over from now on, and stopped by whoever asks
        about it when it can be, or deleted.
        """
        seen = await self._find(name)
        if seen is not None and not run_status(seen).ended:
            await self._end(name, seen, "stopped")

    async def remove(self, name: str) -> None:
        """Forget a run with its log, stopping it first; see `Runner.remove`."""
        if not NAME.fullmatch(name):
            return
        groups = self._connection.client.container_groups
        await self._ask(groups.begin_delete(self._place.resource_group, name, polling=False))
        self._logs.forget(name)

    async def list(self) -> AsyncIterator[ListedRun]:
        """Name every run of this installation that is not removed; see `Runner.list`."""
        groups = self._connection.client.container_groups
        try:
            async for group in groups.list_by_resource_group(self._place.resource_group):
                tags = group.tags or {}
                if tags.get(DEPLOYMENT_TAG) == self._place.deployment and group.name:
                    yield ListedRun(group.name, callers_tags(tags))
        except AzureError as error:
            raise self._failure(error) from None

    async def close(self) -> None:
        """Give back connections; runs go on."""
        await self._connection.close()

    async def _seen(self, name: str) -> Seen:
        seen = await self._find(name)
        if seen is None:
            raise NotFound(
                f"There is no run {name}: it was never started, or is removed.", code="run_not_found"
            )
        return seen

    async def _find(self, name: str) -> Seen | None:
        if not NAME.fullmatch(name):
            return None
        groups = self._connection.client.container_groups
        try:
            return Seen.of(await groups.get(self._place.resource_group, name))
        except AzureError as error:
            if _is_missing(error):
                return None
            raise self._failure(error) from None

    async def _end(self, name: str, seen: Seen, ending: Ending) -> None:
        """Write down why a run is ended, and end it if it can be; else whoever asks next does."""
        groups = self._connection.client.container_groups
        if ENDED_TAG not in seen.tags:
            update = cast("_Update", groups.update)  # pyright: ignore[reportUnknownMemberType]
            tags = Resource(tags={**seen.tags, ENDED_TAG: ending})
            await self._ask(update(self._place.resource_group, name, tags))
        await self._ask(groups.stop(self._place.resource_group, name), TRANSITIONING)

    async def _ask(self, asking: Awaitable[object], passed_over: str = _MISSING) -> None:
        """Ask something of a group; that it is gone is passed over, and the refusal of a code."""
        try:
            await asking
        except AzureError as error:
            if code_of(error) not in {_MISSING, passed_over}:
                raise self._failure(error) from None

    def _failure(self, error: AzureError) -> LightningError:
        where = f"{self._connection.address} (resource group {self._place.resource_group})"
        return failure(error, where=where)


def _is_missing(error: AzureError) -> bool:
    """Tell whether the group is what there is not; a resource group may be missing too."""
    return code_of(error) == _MISSING


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no run {name}: it was never started, or is removed.", code="run_not_found")


def open_aci(settings: Settings, *, crash: CrashPoint = no_crash) -> AciRunner:
    """Open the runner that the settings name; nothing is asked of Azure yet.

    Parameters:
      settings: They have been checked for what the runner needs.
      crash: Told the points at which a test may kill the process.
    """
    connection = open_connection(settings)
    return AciRunner(connection, place_of(settings), api_url=connection.api_url, crash=crash)


def open_connection(settings: Settings) -> Connection:
    """Open the connection that the settings name; nothing is asked of Azure yet."""
    line = secret(settings.aci_emulator)
    emulated = None if line is None else Emulated.parse(line)
    identity = own_identity(settings.identity, settings.azure_client_id)
    return Connection(settings.aci_subscription or "", identity, emulated)


def place_of(settings: Settings) -> Place:
    """Say where the settings want container groups to be made.

    Raises:
      SettingsError: They do not say it.
    """
    if settings.aci_resource_group is None:
        problem = SettingsProblem("ACI_RESOURCE_GROUP", "the runner needs it", "ACI_RESOURCE_GROUP=lightning")
        raise SettingsError([problem])
    server, username = settings.aci_registry_server, settings.aci_registry_username
    password = secret(settings.aci_registry_password)
    return Place(
        resource_group=settings.aci_resource_group,
        region=settings.aci_region,
        deployment=settings.aci_deployment,
        image=settings.worker_image,
        subnet=settings.aci_subnet,
        isolated_subnet=settings.aci_isolated_subnet,
        registry=Registry(server, username, password) if server and username and password else None,
    )
