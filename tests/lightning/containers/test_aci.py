"""Runs on Azure Container Instances: what is asked of Azure, and what its answers mean."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.containerinstance.models import ContainerGroup, Resource

from lightning.azure_identity import Identity
from lightning.containers import Limits, RunSpec
from lightning.containers import aci_state as state
from lightning.containers.aci import open_aci, place_of
from lightning.containers.aci_connection import Connection, Emulated
from lightning.containers.aci_errors import failure
from lightning.containers.aci_group import COPY_SCRIPT, Place, Registry, define
from lightning.errors import NotFound, Permanent, Transient
from lightning.settings import Settings
from ops.emulators.arm import ArmEmulator

IMAGE = "registry.example/agents:1"
SUBNETS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/"
PLACE = Place("lightning", "centralindia", "mine", image=IMAGE, isolated_subnet=SUBNETS + "isolated")
SLEEP = ["sh", "-c", "echo here; sleep 1000"]
PATIENCE_SECONDS = 45


def spec(command=("true",), **changes) -> RunSpec:
    usual = {"network": "none", "limits": Limits(memory_mib=128, disk_mib=16, pids=32)}
    return RunSpec(command=list(command), **({"name": "run-1"} | usual | changes))


def settings_of(emulator: ArmEmulator, **changes: str) -> Settings:
    return Settings.load(
        {
            "LIGHTNING_RUNNER": "aci",
            "WORKER_IMAGE": IMAGE,
            "ACI_RESOURCE_GROUP": "lightning",
            "ACI_ISOLATED_SUBNET": SUBNETS + "isolated",
            "ACI_EMULATOR": emulator.connection_string,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def emulator():
    with ArmEmulator(
        images={IMAGE: ()},
        isolated_subnets=[SUBNETS + "isolated"],
        registries={"private.example": ("pull", "right")},
    ) as emulator:
        yield emulator


@pytest.fixture
async def runner(emulator):
    runner = open_aci(settings_of(emulator))
    yield runner
    emulator.faults.clear()
    async for run in runner.list():
        await runner.remove(run.name)
    await runner.close()


async def until(runner, *states: str):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (status := await runner.status("run-1")).state not in states:
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.01)
    return status


class TestDefinition:
    def test_a_run_is_a_group_without_any_identity(self):
        group = define(
            spec(
                ["agent", "--quick"],
                environment={"PLAIN": "1"},
                secure_environment={"HIDDEN": "2"},
                tags={"run": "r", "user": "anna"},
                limits=Limits(cpu=0.5, memory_mib=1500, wall_seconds=90),
            ),
            PLACE,
            asked_at=12.5,
        ).serialize()
        properties = group["properties"]
        [container] = properties["containers"]
        assert "identity" not in group
        assert (group["location"], properties["osType"]) == ("centralindia", "Linux")
        assert properties["restartPolicy"] == "Never"
        assert properties["subnetIds"] == [{"id": SUBNETS + "isolated"}]
        assert "ipAddress" not in properties
        assert container["properties"] == {
            "image": IMAGE,
            "command": ["agent", "--quick"],
            "environmentVariables": [
                {"name": "PLAIN", "value": "1"},
                {"name": "HIDDEN", "secureValue": "2"},
            ],
            "resources": {"requests": {"cpu": 0.5, "memoryInGB": 1.5}},
        }
        assert group["tags"] == {
            "run": "r",
            "user": "anna",
            "lightning-deployment": "mine",
            "lightning-wall-seconds": "90",
            "lightning-memory-mib": "1500",
            "lightning-asked-at": "12.500",
        }

    def test_the_networks_token_and_image_are_those_of_the_settings(self, emulator):
        place = place_of(
            settings_of(
                emulator,
                ACI_SUBNET=SUBNETS + "runs",
                ACI_REGISTRY_SERVER="private.example",
                ACI_REGISTRY_USERNAME="pull",
                ACI_REGISTRY_PASSWORD="canary",
                ACI_REGION="westeurope",
                ACI_DEPLOYMENT="other",
            )
        )
        assert place == Place(
            "lightning",
            "westeurope",
            "other",
            image=IMAGE,
            subnet=SUBNETS + "runs",
            isolated_subnet=SUBNETS + "isolated",
            registry=Registry("private.example", "pull", "canary"),
        )
        assert "canary" not in repr(place)
        group = define(spec(network="full"), place, asked_at=0)
        assert [subnet.id for subnet in group.subnet_ids] == [SUBNETS + "runs"]
        # The token is shown to its own registry only
        assert group.image_registry_credentials is None
        private = define(spec(image="private.example/a:1"), place, asked_at=0)
        [credential] = private.image_registry_credentials
        assert (credential.server, credential.username, credential.password) == (
            "private.example",
            "pull",
            "canary",
        )

    @pytest.mark.parametrize(
        ("changes", "code", "said"),
        [
            ({"network": ["example.com"]}, "network_unsupported", "full or none"),
            ({"environment": {"_A": ""}}, "run_refused", "'_A'"),
            ({"command": [], "image": IMAGE, "files": {"a": b""}}, "run_refused", "must name its command"),
            ({"tags": {"a/b": ""}}, "run_refused", "'a/b'"),
            ({"tags": {"lightning-deployment": "theirs"}}, "run_refused", "lightning-deployment"),
            ({"tags": {"a": "x" * 257}}, "run_refused", "256"),
            ({"tags": {str(n): "" for n in range(46)}}, "run_refused", "45"),
        ],
    )
    def test_what_azure_cannot_run_is_refused_here(self, changes, code, said):
        with pytest.raises(Permanent, match=said) as refused:
            define(spec(**changes), PLACE, asked_at=0)
        assert refused.value.code == code

    def test_without_a_subnet_or_an_image_there_is_what_to_set(self):
        with pytest.raises(Permanent, match="ACI_ISOLATED_SUBNET"):
            define(spec(), replace(PLACE, isolated_subnet=None), asked_at=0)
        with pytest.raises(Permanent, match="WORKER_IMAGE"):
            define(spec(), replace(PLACE, image=None), asked_at=0)

    def test_files_are_copied_before_the_command(self):
        group = define(spec(["cat", "a/b"], files={"a/b": b"one", "-c": b"two"}), PLACE, asked_at=0)
        assert group.volumes[0].secret == {"f0": "b25l", "f1": "dHdv"}
        assert group.containers[0].command == [
            *("/bin/sh", "-c", COPY_SCRIPT, "files"),
            *("2", "f0", "a/b", "f1", "-c"),
            *("cat", "a/b"),
        ]


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "code", "seconds"),
        [
            ({"kind": "quota"}, "runner_quota", 30),
            ({"kind": "capacity"}, "runner_quota", 30),
            ({"kind": "throttle", "retry_after_seconds": 7}, "runner_throttled", 7),
            ({"kind": "internal"}, "runner_unavailable", 2),
            # one broken connection is mended by aiohttp, which takes a PUT for harmless
            ({"kind": "drop", "count": 2}, "runner_unavailable", 2),
        ],
    )
    async def test_what_may_pass_is_transient(self, emulator, runner, fault, code, seconds):
        emulator.faults.add(**({"operations": ["create"], "count": 1} | fault))
        with pytest.raises(Transient) as refused:
            await runner.start(spec())
        assert (refused.value.code, refused.value.retry_after) == (code, seconds)
        # And the next attempt is the first
        await runner.start(spec())
        assert (await until(runner, "succeeded", "failed")).state == "succeeded"

    async def test_a_creation_whose_answer_was_lost_is_not_repeated(self, emulator, runner):
        emulator.faults.add("drop", operations=["create"], when="after", count=1)
        before = emulator.groups.deployments
        with suppress(Transient):
            await runner.start(spec())
        await until(runner, "succeeded", "failed")
        await runner.start(spec())
        assert (await until(runner, "succeeded", "failed")).state == "succeeded"
        assert emulator.groups.deployments == before + 1

    async def test_whoever_comes_second_while_azure_is_busy_has_started_it_too(self, emulator, runner):
        emulator.faults.add("transitioning", operations=["create"], count=1)
        await runner.start(spec())
        with pytest.raises(NotFound):
            await runner.status("run-1")

    async def test_what_azure_refuses_for_good_is_permanent(self, emulator, runner):
        # Given an image of a registry that wants a token
        with pytest.raises(Permanent, match=r"private\.example/a:1.*not accessible") as refused:
            await runner.start(spec(image="private.example/a:1"))
        assert refused.value.code == "image_missing"

    async def test_what_azure_does_not_take_is_said_in_its_words(self, emulator, runner):
        await runner.start(spec())
        with pytest.raises(HttpResponseError) as caught:
            await runner._connection.client.container_groups.update(
                "lightning", "run-1", Resource(zones=["1"])
            )
        error = failure(caught.value, where="here")
        assert isinstance(error, Permanent)
        assert error.code == "run_refused"
        assert "InvalidRequestContent" in error.message

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"ACI_RESOURCE_GROUP": "elsewhere"}, "check ACI_SUBSCRIPTION and ACI_RESOURCE_GROUP"),
            ({"ACI_EMULATOR": "AccessToken=wrong"}, "role Contributor"),
            ({"ACI_EMULATOR": "Endpoint=http://127.0.0.1:1"}, "does not answer"),
        ],
    )
    async def test_a_wrong_place_is_said_with_what_to_do(self, emulator, change, said):
        if "ACI_EMULATOR" in change:
            parts = dict(part.split("=", 1) for part in emulator.connection_string.split(";") if part)
            parts |= dict([change["ACI_EMULATOR"].split("=", 1)])
            change = {"ACI_EMULATOR": ";".join(f"{name}={value}" for name, value in parts.items())}
        runner = open_aci(settings_of(emulator, **change))
        calls = [lambda: runner.start(spec()), lambda: runner.status("run-1"), lambda: runner.stop("run-1")]
        calls += [lambda: runner.remove("run-1"), lambda: runner.logs("run-1"), lambda: anext(runner.list())]
        for call in calls:
            with pytest.raises(Transient, match=said):
                await call()
        await runner.close()


class TestConnection:
    async def test_azure_is_asked_as_the_identity(self):
        identity = Identity("managed", "the-client")
        connection = Connection("00000000-0000-0000-0000-000000000001", identity, None)
        assert connection.client is connection.client
        assert connection.client._config.credential.identity is identity
        assert connection.client._config.credential_scopes == ["https://management.azure.com/.default"]
        assert connection.client._client._base_url == "https://management.azure.com"
        await connection.close()
        await connection.close()

    async def test_an_emulators_token_is_not_shown(self, emulator):
        emulated = Emulated.parse(emulator.connection_string)
        assert emulated.token == emulator.token
        assert emulator.token not in repr(emulated)


async def test_a_run_reaches_the_run_api_and_nothing_else_of_this_machine(tmp_path):
    # Given the run API at a socket of its own
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nthe run API")
        await writer.drain()
        writer.close()

    socket = tmp_path / "api.sock"
    script = "import os, urllib.request as u; print(u.urlopen(os.environ['API'], timeout=30).read().decode())"
    async with await asyncio.start_unix_server(answer, socket) as server:
        with ArmEmulator(
            images={IMAGE: ()}, isolated_subnets=[SUBNETS + "isolated"], api_socket=socket
        ) as emulator:
            runner = open_aci(settings_of(emulator))
            # When a run asks for it where the runner says
            await runner.start(spec(["python3", "-c", script], environment={"API": runner.api_url}))
            status = await until(runner, "succeeded", "failed")
            # Then it is there
            assert (await runner.logs("run-1")).data == b"the run API\n", status
            await runner.close()
        server.close()


class TestEndings:
    async def test_a_deployment_that_fails_is_an_end(self, emulator, runner):
        emulator.faults.add("fail_provisioning", count=1)
        await runner.start(spec())
        status = await until(runner, "succeeded", "failed")
        assert (status.reason, status.exit_code) == ("launcher_lost", None)
        assert "could not be provisioned" in status.message

    async def test_a_process_killed_for_its_memory_says_so(self, emulator, runner):
        emulator.faults.add("out_of_memory", count=1)
        await runner.start(spec(SLEEP))
        status = await until(runner, "succeeded", "failed")
        assert (status.reason, status.exit_code) == ("out_of_memory", 137)

    async def test_a_run_that_azure_does_not_start_is_given_up(self, emulator, runner, monkeypatch):
        # Given a group that hangs, and no patience
        emulator.faults.add("stuck_pending", count=1)
        await runner.start(spec(SLEEP))
        assert (await runner.status("run-1")).state == "pending"
        monkeypatch.setattr(state, "START_SECONDS", -1.0)
        # When somebody asks about it, it is over, though Azure cannot stop it yet
        given_up = await runner.status("run-1")
        assert (given_up.state, given_up.reason) == ("failed", "launcher_lost")
        # And when it can, it is stopped, and over for the same reason
        emulator.faults.clear()
        assert (await until_stopped(runner)).reason == "launcher_lost"

    async def test_a_run_is_stopped_before_it_began(self, emulator, runner):
        # Given a run that Azure is still deploying
        emulator.faults.add("stuck_pending", count=1)
        await runner.start(spec(SLEEP))
        # When it is stopped
        await runner.stop("run-1")
        status = await runner.status("run-1")
        assert (status.state, status.reason, status.exit_code) == ("failed", "stopped", None)
        # Then it does not run on, should it be deployed after all
        emulator.faults.clear()
        assert (await until_stopped(runner)).reason == "stopped"

    async def test_a_stop_that_was_cut_off_is_carried_out_by_whoever_asks_next(self, emulator, runner):
        # Given a run whose end was written down, before the process died that should have stopped it
        await runner.start(spec(SLEEP))
        await until(runner, "running")
        groups = runner._connection.client.container_groups
        tags = (await groups.get("lightning", "run-1")).tags
        await groups.update("lightning", "run-1", Resource(tags={**tags, "lightning-ended": "stopped"}))
        # When another asks about it
        status = await runner.status("run-1")
        # Then it is stopped
        assert (status.state, status.reason) == ("failed", "stopped")

    async def test_a_run_of_another_installation_is_not_listed(self, emulator, runner):
        other = open_aci(settings_of(emulator, ACI_DEPLOYMENT="other"))
        emulator.faults.add("stuck_pending")
        await other.start(spec(name="theirs"))
        await runner.start(spec())
        assert [run.name async for run in runner.list()] == ["run-1"]
        await other.remove("theirs")
        await other.close()

    async def test_a_log_that_was_cut_is_read_on(self, emulator, runner):
        # Given a run of which some was read while it ran
        await runner.start(spec(["sh", "-c", "seq 1 3000; sleep 1000"]))
        await until(runner, "running")
        read = b""
        while b"\n2500\n" not in read:
            portion = await runner.logs("run-1", len(read), limit=1000)
            read += portion.data
        # When it has ended, and only its last thousand lines are left
        await runner.stop("run-1")
        while (portion := await runner.logs("run-1", len(read), limit=1000)).data:
            assert portion.since == len(read)
            read += portion.data
        # Then nothing is missing, nor there twice
        assert read.split() == [str(n).encode() for n in range(1, 3001)]


async def until_stopped(runner):
    """Ask about the run until Azure has stopped it, and give the last answer."""
    groups = runner._connection.client.container_groups
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (await groups.get("lightning", "run-1")).instance_view.state != "Stopped":
        assert time.monotonic() < deadline
        assert (await runner.status("run-1")).reason in {"stopped", "launcher_lost", None}
    return await runner.status("run-1")


def group_of(current=None, *, view="Running", provisioning="Succeeded", tags=None, events=()):
    """Write a group as Azure shows it."""
    return state.Seen.of(
        ContainerGroup.deserialize(
            {
                "name": "run-1",
                "location": "centralindia",
                "tags": {"lightning-wall-seconds": "90", "lightning-memory-mib": "128"} | (tags or {}),
                "properties": {
                    "provisioningState": provisioning,
                    "osType": "Linux",
                    "instanceView": {"events": [], "state": view},
                    "containers": [
                        {
                            "name": "run",
                            "properties": {
                                "image": IMAGE,
                                "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
                                "instanceView": {
                                    "restartCount": 0,
                                    "events": list(events),
                                    **({} if current is None else {"currentState": current}),
                                },
                            },
                        }
                    ],
                },
            }
        )
    )


def terminated(code: int, detail: str = "Error") -> dict:
    return {
        "state": "Terminated",
        "exitCode": code,
        "startTime": "2026-11-26T10:00:00Z",
        "finishTime": "2026-11-26T10:01:00.5Z",
        "detailStatus": detail,
    }


RUNNING = {"state": "Running", "startTime": "2026-11-26T10:00:00Z", "detailStatus": ""}
BEGAN = 1795687200.0


class TestStates:
    @pytest.mark.parametrize(
        ("seen", "expected"),
        [
            (group_of(provisioning="Pending", view="Pending"), ("pending", None, None)),
            (group_of(provisioning="Creating", view=""), ("pending", None, None)),
            (group_of({"state": "Waiting"}, provisioning="Repairing"), ("pending", None, None)),
            (group_of(RUNNING), ("running", None, None)),
            (group_of(terminated(0, "Completed"), view="Succeeded"), ("succeeded", "exit", 0)),
            (group_of(terminated(3), view="Failed"), ("failed", "exit", 3)),
            (group_of(terminated(255), view="Failed"), ("failed", "exit", 255)),
            (group_of(terminated(137), view="Failed"), ("failed", "killed", 137)),
            (group_of(terminated(137, "OOMKilled"), view="Failed"), ("failed", "out_of_memory", 137)),
            # a provisioning that failed says nothing of a command that ran
            (group_of(terminated(0), view="Succeeded", provisioning="Failed"), ("succeeded", "exit", 0)),
            (group_of(provisioning="Failed", view="Failed"), ("failed", "launcher_lost", None)),
            # stopped by us, and by somebody at Azure
            (
                group_of(terminated(137), view="Stopped", tags={"lightning-ended": "timeout"}),
                ("failed", "timeout", 137),
            ),
            (
                group_of(view="Stopped", tags={"lightning-ended": "unstarted"}),
                ("failed", "launcher_lost", None),
            ),
            (group_of(view="Stopped"), ("failed", "stopped", None)),
            # told to stop before it could be
            (
                group_of(view="Pending", provisioning="Pending", tags={"lightning-ended": "stopped"}),
                ("failed", "stopped", None),
            ),
            # it ended by itself before the stop came
            (
                group_of(terminated(0), view="Succeeded", tags={"lightning-ended": "timeout"}),
                ("succeeded", "exit", 0),
            ),
            (
                group_of(terminated(143), view="Failed", tags={"lightning-ended": "stopped"}),
                ("failed", "stopped", 143),
            ),
        ],
    )
    def test_what_azure_shows_is_told(self, seen, expected):
        status = state.status_of(seen)
        assert (status.state, status.reason, status.exit_code) == expected
        assert status.message

    def test_times_are_seconds(self):
        status = state.status_of(group_of(terminated(0), view="Succeeded"))
        assert (status.started_at, status.ended_at) == (BEGAN, BEGAN + 60.5)

    @pytest.mark.parametrize(("count", "expected"), [(2, "pending"), (3, "failed")])
    def test_an_image_that_cannot_be_pulled_is_missing_after_a_few_attempts(self, count, expected):
        event = {
            "name": "Failed",
            "type": "Warning",
            "count": count,
            "message": f'Failed to pull image "{IMAGE}"',
        }
        status = state.status_of(group_of({"state": "Waiting"}, view="Pending", events=[event]))
        assert status.state == expected
        assert status.reason == ("missing_image" if expected == "failed" else None)
        assert (IMAGE in status.message) == (expected == "failed")

    @pytest.mark.parametrize(
        ("seen", "now", "expected"),
        [
            (group_of(RUNNING), BEGAN + 90, None),
            (group_of(RUNNING), BEGAN + 91, "timeout"),
            (group_of(RUNNING, tags={"lightning-ended": "stopped"}), BEGAN, "stopped"),
            (group_of(view="Pending", tags={"lightning-ended": "stopped"}), BEGAN, "stopped"),
            (group_of(view="Stopped", tags={"lightning-ended": "stopped"}), BEGAN, None),
            (group_of(RUNNING, tags={"lightning-wall-seconds": "canary"}), BEGAN + 91, None),
            (group_of(view="Pending", tags={"lightning-asked-at": str(BEGAN)}), BEGAN + 900, None),
            (group_of(view="Pending", tags={"lightning-asked-at": str(BEGAN)}), BEGAN + 901, "unstarted"),
            (group_of(terminated(0), view="Succeeded"), BEGAN + 1000, None),
        ],
    )
    def test_time_is_up_for_whoever_asks(self, seen, now, expected):
        assert state.overdue(seen, state.status_of(seen), now) == expected
