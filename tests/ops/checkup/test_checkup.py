"""`lightning doctor --azure`: each thing broken once is noticed, with what to do, in bounded time."""

import asyncio
import json
import socket
import time

import pytest
from azure.cosmos import PartitionKey
from typer.testing import CliRunner

from lightning.containers.opening import open_runner
from lightning.settings import Settings
from lightning.storage.cosmos_indexes import indexing_policy
from lightning.storage.port import CONTAINERS
from ops.checkup import clock
from ops.checkup.check import CLEANING_SECONDS, Check
from ops.cli import app
from ops.emulators.arm.quotas import Limits
from tests.ops.checkup.conftest import QUEUE, EntityProperties, make_container


def command(monkeypatch, environment, *arguments):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = CliRunner().invoke(app, ["doctor", "--azure", *arguments])
    return ran.exit_code, ran.stdout


async def remove_runs(environment) -> None:
    runner = open_runner(Settings.load(environment))
    for name in [run.name async for run in runner.list()]:
        await runner.remove(name)
    await runner.close()


def failed(checks: dict[str, Check], name: str) -> Check:
    check = checks[name]
    assert check.verdict == "failed", checks
    assert check.remedy
    return check


class TestCommand:
    def test_an_installation_in_order(self, azure, monkeypatch):
        status, printed = command(monkeypatch, azure.environment, "--json")
        checks = [json.loads(line) for line in printed.splitlines()]
        assert {check["verdict"] for check in checks} == {"ok"}, printed
        assert status == 0
        parts = [
            "settings",
            "secrets",
            "clock",
            "queues",
            "queue settings",
            "containers of the store",
            "store",
        ]
        parts += ["quota", "containers", "containers: image"]
        parts += ["containers without network", "containers without network: image", "telemetry", "model"]
        assert [check["name"] for check in checks] == parts

    def test_one_that_is_not_says_what_to_do_and_tells_no_secret(self, azure, monkeypatch):
        azure.monitor.faults.add("refused")
        environment = {**azure.environment, "LIGHTNING_LLM": "echo", "LIGHTNING_RUNNER": "sandbox"}
        status, printed = command(monkeypatch, environment)
        assert status == 1
        assert "failed   telemetry: the span was not taken" in printed
        assert "APPLICATIONINSIGHTS_CONNECTION_STRING, and the way to" in printed
        assert "skipped  containers: runs are in the sandbox" in printed
        secrets = Settings.load(environment).secret_values()
        assert [secret for secret in secrets if secret in printed] == []

    def test_settings_that_are_wrong(self, azure, monkeypatch):
        reference = "@Microsoft.KeyVault(VaultName=acme-dev-kv;SecretName=jwt-signing-key)"
        environment = {**azure.environment, "JWT_SIGNING_KEY": reference}
        status, printed = command(monkeypatch, environment, "--json")
        first, last = map(json.loads, printed.splitlines())
        assert (status, first["verdict"], last["verdict"]) == (1, "failed", "skipped")
        assert "not looked up" in first["detail"]
        assert "Key Vault Secrets User" in first["remedy"]

    def test_a_name_that_is_no_setting(self, azure, monkeypatch):
        monkeypatch.setenv("OPENAI_MODLE", "gpt-4o")
        assert "OPENAI_MODEL" in failed(azure.look("settings"), "settings").remedy

    def test_a_secret_that_is_missing(self, azure):
        assert "NOTIFY_SECRET" in failed(azure.look("settings", NOTIFY_SECRET=None), "secrets").detail


class TestQueues:
    def test_a_wrong_key(self, azure):
        wrong = azure.environment["SERVICEBUS_CONNECTION"].replace("k" * 44, "x" * 44)
        checks = azure.look("queues", SERVICEBUS_CONNECTION=wrong)
        assert "unauthorized" in failed(checks, "queues: send").detail
        assert checks["queue settings"].verdict == "skipped"

    def test_a_missing_role(self, azure):
        azure.bus_fault("unauthorized", "attach", entity="lightning-webhook", count=None)
        checks = azure.look("queues")
        assert "lightning-webhook" in failed(checks, "queues: send").detail
        assert "lightning-webhook" in failed(checks, "queues: receive").detail

    def test_a_missing_queue(self, azure):
        azure.bus_fault("not-found", "attach", entity="lightning-webhook", count=None)
        check = failed(azure.look("queues"), "queue lightning-webhook")
        assert "az servicebus queue create" in check.remedy
        assert "--lock-duration PT30S --max-delivery-count 10" in check.remedy

    @pytest.mark.parametrize(
        ("properties", "words", "remedy"),
        [
            ({"lock_duration": 60}, "LockDuration is PT60S, not PT30S", "--lock-duration PT30S"),
            ({"max_delivery_count": 3}, "MaxDeliveryCount is 3, not 10", "--max-delivery-count 10"),
            ({"duplicate_window": 60}, "RequiresDuplicateDetection is True", "delete lightning-bulk"),
        ],
    )
    def test_a_queue_that_is_declared_otherwise(self, azure, properties, words, remedy):
        usual = {"lock_duration": QUEUE.lock_duration, "max_delivery_count": QUEUE.max_delivery_count}
        with azure.queue("lightning-bulk", EntityProperties(**{**usual, **properties})):
            check = failed(azure.look("queues"), "queue settings")
        assert words in check.detail
        assert remedy in check.remedy

    def test_who_may_not_see_the_declarations_can_still_work(self, azure):
        azure.bus_fault("not-allowed", "administer")
        checks = azure.look("queues")
        assert (checks["queues"].verdict, checks["queue settings"].verdict) == ("ok", "skipped")
        assert checks["queue settings"].remedy

    def test_nobody_there(self, azure):
        nowhere = (
            "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"
        )
        assert "network" in failed(azure.look("queues", SERVICEBUS_CONNECTION=nowhere), "queues: send").remedy


class TestStore:
    def test_a_wrong_key(self, azure):
        wrong = f"AccountEndpoint={azure.store.endpoint};AccountKey=eHh4eA==;"
        check = failed(azure.look("store", COSMOS_CONNECTION=wrong), "container users")
        assert "refuses us (401)" in check.detail

    def test_a_role_that_reads_and_may_not_write(self, azure):
        azure.store.faults.add("forbidden", operations=("batch",))
        assert "refuses us (403)" in failed(azure.look("store"), "store").detail

    def test_a_missing_container(self, azure):
        check = failed(azure.look("store", SCHEDULE_CONTAINER="elsewhere"), "container elsewhere")
        assert "SCHEDULE_CONTAINER" in check.remedy or "*_CONTAINER" in check.remedy

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"indexing_policy": indexing_policy(CONTAINERS["repos"])}, "no index of /kind/?"),
            ({"partition_key": PartitionKey("/id")}, "it is partitioned by ['/id'], not /userID"),
            ({"default_ttl": None}, "cannot expire"),
        ],
    )
    def test_a_container_that_is_another(self, azure, changes, words):
        azure.database.delete_container("schedules")
        make_container(azure.database, "schedules", **changes)
        check = failed(azure.look("store"), "container schedules")
        azure.database.delete_container("schedules")
        make_container(azure.database, "schedules")
        assert words in check.detail


class TestContainers:
    def test_a_wrong_token(self, azure):
        wrong = azure.environment["ACI_EMULATOR"].replace(azure.arm.token, "wrong")
        checks = azure.look("containers", ACI_EMULATOR=wrong)
        assert "role assignment create" in failed(checks, "containers").remedy
        assert checks["containers: image"].verdict == "skipped"

    @pytest.mark.parametrize("operation", ["create", "get", "delete"])
    def test_a_role_that_lacks_one(self, azure, operation):
        azure.arm.faults.add("forbidden", operations=(operation,), count=1)
        checks = azure.look("containers", ACI_ISOLATED_SUBNET=None)
        assert "(403)" in failed(checks, "containers").detail
        # what could not be removed is the clock's to remove, as any container that nobody knows
        azure.arm.faults.clear()
        asyncio.run(remove_runs(azure.environment))

    def test_no_room(self, azure):
        azure.arm.faults.add("quota", operations=("create",))
        assert "no room" in failed(azure.look("containers", ACI_ISOLATED_SUBNET=None), "containers").detail

    def test_a_quota_that_is_used_up(self, azure, monkeypatch):
        monkeypatch.setattr(azure.arm.groups._quotas, "limits", Limits(groups=0))
        checks = azure.look("containers", ACI_ISOLATED_SUBNET=None)
        assert "ContainerGroups 0 of 0" in failed(checks, "quota").detail
        assert "no room" in failed(checks, "containers").detail

    def test_quotas_that_may_not_be_seen(self, azure):
        azure.arm.faults.add("forbidden", operations=("usages",))
        check = azure.look("containers", ACI_ISOLATED_SUBNET=None)["quota"]
        assert (check.verdict, "'Reader'" in check.remedy) == ("skipped", True)

    @pytest.mark.parametrize(
        "changes", [{"ACI_REGISTRY_PASSWORD": "wrong"}, {"WORKER_IMAGE": "other.example/agents:2"}]
    )
    def test_an_image_that_cannot_be_pulled(self, azure, changes):
        checks = azure.look("containers", ACI_ISOLATED_SUBNET=None, **changes)
        assert "az acr repository show-tags" in failed(checks, "containers: image").remedy

    def test_one_that_never_starts(self, azure):
        azure.arm.faults.add("stuck_pending")
        begun = time.monotonic()
        checks = azure.look("containers", seconds=1, ACI_ISOLATED_SUBNET=None)
        assert "no answer within 1 s" in failed(checks, "containers").detail
        assert time.monotonic() - begun < 20


class TestTelemetry:
    def test_a_key_of_nobody(self, azure):
        wrong = azure.monitor.connection_string.replace(azure.monitor.key, "0" * 8 + azure.monitor.key[8:])
        checks = azure.look("telemetry", APPLICATIONINSIGHTS_CONNECTION_STRING=wrong)
        assert "not taken" in failed(checks, "telemetry").detail

    def test_what_was_sent_is_there(self, azure):
        detail = azure.look("telemetry")["telemetry"].detail
        trace_id = detail.rpartition("'")[0].rpartition("'")[2]
        assert len(azure.monitor.store.envelopes(operation_id=trace_id)) == 1


class TestModel:
    def test_a_wrong_key(self, azure):
        assert "OPENAI_API_KEY" in failed(azure.look("model", OPENAI_API_KEY="sk-wrong"), "model").remedy

    def test_an_identity_that_cannot_sign_in_is_given_a_role(self, azure, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))  # where there is no az
        changes = {"LIGHTNING_LLM": "azure-openai", "OPENAI_API_KEY": None, "LIGHTNING_IDENTITY": "az"}
        check = failed(azure.look("model", **changes), "model")
        assert "gives no token" in check.detail
        assert "'Cognitive Services OpenAI User'" in check.remedy


class TestClock:
    @pytest.mark.parametrize(("off", "words"), [(600, "600 s fast"), (-600, "600 s slow")])
    def test_one_that_is_wrong(self, azure, off, words):
        settings = Settings.load(azure.environment)

        async def looked():
            return [check async for check in clock.look(settings, lambda: time.time() + off)]

        [check] = asyncio.run(looked())
        assert check.verdict == "failed"
        assert words.partition(" ")[2].split()[-1] in check.detail
        assert abs(int(check.detail.split()[2]) - 600) <= 2


@pytest.fixture
def silence():
    """The address of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("clock", "COSMOS_CONNECTION", "AccountEndpoint=http://{};AccountKey=eHh4eA==;"),
        ("store", "COSMOS_CONNECTION", "AccountEndpoint=http://{};AccountKey=eHh4eA==;"),
        (
            "queues",
            "SERVICEBUS_CONNECTION",
            "Endpoint=sb://{};UseDevelopmentEmulator=true;SharedAccessKeyName=a",
        ),
        ("containers", "ACI_EMULATOR", "Endpoint=http://{};SubscriptionId=s;AccessToken=t;"),
        (
            "telemetry",
            "APPLICATIONINSIGHTS_CONNECTION_STRING",
            "InstrumentationKey={key};IngestionEndpoint=http://{}/",
        ),
        ("model", "OPENAI_BASE_URL", "http://{}/v1"),
    ],
)
def test_nobody_is_waited_for(azure, silence, part, setting, value):
    value = value.replace("{key}", azure.monitor.key).replace("{}", silence)
    if "SharedAccessKeyName" in value:
        value += ";SharedAccessKey=b"
    begun = time.monotonic()
    check = failed(azure.look(part, seconds=1, **{setting: value}), part)
    assert "no answer within 1 s" in check.detail
    assert time.monotonic() - begun < 1 + CLEANING_SECONDS
