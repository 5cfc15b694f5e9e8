"""Whether every queue is there, lets us in, and is declared as the code wants it."""

from collections.abc import AsyncIterator
from typing import Any, Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from brokers import queue_names
from brokers.servicebus_administration import declared
from brokers.servicebus_namespace import Told, address_of, told_by
from brokers.servicebus_probe import Probe, probe
from brokers.servicebus_queues import queue_properties
from lightning.daemon_thread import in_daemon_thread
from lightning.settings import Settings
from ops.checkup.check import Check
from ops.checkup.commands import first_word, give_role, of_resource

KIND: Final = "Microsoft.ServiceBus/namespaces"
ROLES: Final = {"send": "Azure Service Bus Data Sender", "receive": "Azure Service Bus Data Receiver"}
OWNER: Final = "Azure Service Bus Data Owner"

#: The options of `az servicebus queue` for what can be changed once a queue is there.
_OPTIONS: Final = {
    "LockDuration": "--lock-duration",
    "MaxDeliveryCount": "--max-delivery-count",
    "DeadLetteringOnMessageExpiration": "--enable-dead-lettering-on-message-expiration",
}


async def look(settings: Settings) -> AsyncIterator[Check]:
    """Look at the namespace that the settings name."""
    if settings.broker != "servicebus":
        yield Check("queues", "skipped", f"the queue is {settings.broker}")
        return
    told, names, fine = told_by(settings), queue_names(settings.servicebus_queue), True
    async for each in probe(told, names):
        if each.error is not None:
            fine = False
            yield _failed(settings, each)
    if fine:
        yield Check("queues", "ok", f"{len(names)} take and give messages, asked as {_asker(settings)}")
    async for check in _declared(settings, told, names):
        yield check


async def _declared(settings: Settings, told: Told, names: list[str]) -> AsyncIterator[Check]:
    name = "queue settings"
    try:
        found = await in_daemon_thread(lambda: declared(told))
    except AzureError as error:
        refused = isinstance(error, ClientAuthenticationError) or (
            isinstance(error, HttpResponseError) and error.status_code in {401, 403}
        )
        what = "who asks may not see them, which messages do not need" if refused else "they cannot be read"
        yield Check(name, "skipped", what, _give(settings, OWNER))
        return
    wanted = queue_properties(settings.lease_seconds)
    wrong = {each: _other(found[each], wanted) for each in names if each in found}
    wrong = {each: other for each, other in wrong.items() if other}
    for each, other in wrong.items():
        words = ", ".join(f"{key} is {found[each][key]}, not {value}" for key, value in other.items())
        yield Check(name, "failed", f"{each}: {words}", _mend(settings, each, other))
    if not wrong:
        yield Check(name, "ok", ", ".join(f"{key} {value}" for key, value in wanted.items()))


def _other(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if found[key] != value}


def _failed(settings: Settings, each: Probe) -> Check:
    its_own = each.kind in {"queue_missing", "queue_disabled"}
    name = f"queue {each.queue}" if its_own else f"queues: {each.doing}"
    detail = str(each.error)
    if each.kind == "queue_missing":
        options = queue_properties(settings.lease_seconds)
        changes = {key: options[key] for key in ("LockDuration", "MaxDeliveryCount")}
        return Check(
            name, "failed", detail, f"pulumi up in infra/, or: {_az(settings, 'create', each.queue, changes)}"
        )
    if each.kind == "queue_disabled":
        return Check(name, "failed", detail, _az(settings, "update", each.queue) + " --status Active")
    if each.kind == "unauthorized":
        return Check(name, "failed", f"{each.queue}: {detail}", _give(settings, ROLES[each.doing]))
    remedy = "check SERVICEBUS_NAMESPACE or SERVICEBUS_CONNECTION, and whether the network lets you there"
    return Check(name, "failed", f"{each.queue}: {detail}", remedy)


def _asker(settings: Settings) -> str:
    if settings.servicebus_connection is not None:
        return "the policy of SERVICEBUS_CONNECTION"
    return "who is logged in by az" if settings.identity == "az" else "the managed identity"


def _give(settings: Settings, role: str) -> str:
    if settings.servicebus_connection is not None:
        return "give SERVICEBUS_CONNECTION of a policy with Manage, Send and Listen, as the portal shows it"
    return give_role(settings, role, of_resource(KIND, _namespace(settings)))


def _namespace(settings: Settings) -> str:
    told = told_by(settings)
    return first_word(address_of(told.connection_string, told.namespace)[0])


def _mend(settings: Settings, queue: str, changes: dict[str, Any]) -> str:
    if changes.keys() - _OPTIONS.keys():
        return f"delete {queue} when it is empty, and pulumi up in infra/: it cannot be changed"
    return f"pulumi up in infra/, or: {_az(settings, 'update', queue, changes)}"


def _az(settings: Settings, verb: str, queue: str, changes: dict[str, Any] | None = None) -> str:
    namespace = _namespace(settings)
    options = " ".join(f"{_OPTIONS[key]} {value!s}" for key, value in (changes or {}).items())
    group = of_resource(KIND, namespace, "resourceGroup")
    command = (
        f"az servicebus queue {verb} --namespace-name {namespace} --resource-group {group} --name {queue}"
    )
    return f"{command} {options}".rstrip()
