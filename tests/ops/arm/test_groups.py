"""What becomes of a container group, through the real SDK."""

import re
import time

from azure.mgmt.containerinstance.aio import ContainerInstanceManagementClient as AsyncClient
from azure.mgmt.containerinstance.models import Resource, ResourceRequests, ResourceRequirements

from ops.emulators.arm import ArmEmulator, Limits
from tests.ops.arm.conftest import (
    GROUP,
    IMAGE,
    SUBNET,
    NoCredential,
    client_of,
    create,
    current,
    group,
    new_name,
    refused,
    until,
    until_says,
    until_state,
)
from tests.ops.arm.test_definitions import path_of, send

SLEEP = "echo here; sleep 1000"


def test_a_command_runs_to_its_end(client):
    # When a group is created
    before = time.time() - 1
    name = create(client, group("echo out; echo err >&2; exit 3", tags={"run": "1"}))
    found = until_state(client, name, "Succeeded", "Failed")
    # Then its deployment succeeded, and its command did not
    assert (found.provisioning_state, found.instance_view.state) == ("Succeeded", "Failed")
    state = current(found)
    assert (state["state"], state["exitCode"], state["detailStatus"]) == ("Terminated", 3, "Error")
    assert state["startTime"] <= state["finishTime"]
    assert found.containers[0].instance_view.current_state.start_time.timestamp() > before
    assert (found.name, found.tags, found.location) == (name, {"run": "1"}, "centralindia")
    events = [event.name for event in found.containers[0].instance_view.events]
    assert events == ["Pulling", "Pulled", "Started"]
    # And its log is there
    assert client.containers.list_logs(GROUP, name, "run").content == "out\nerr\n"


def test_a_creation_is_an_operation_of_its_own(emulator, client):
    # When a group is created, the answer comes before it runs
    emulator.faults.add("stuck_pending")
    name = new_name()
    status, body, headers = send(emulator, "PUT", path_of(name), group(SLEEP).serialize())
    assert (status, body["properties"]["provisioningState"]) == (201, "Pending")
    assert client.container_groups.get(GROUP, name).instance_view.state == "Pending"
    # And where to ask about it
    path, _, version = headers["Azure-AsyncOperation"].partition("?api-version=")
    assert (
        send(emulator, "GET", path.partition(emulator.subscription)[2], version=version)[1]["status"]
        == "Pending"
    )
    # And nothing else is done with it until it is through
    refused(409, "ContainerGroupTransitioning", create, client, group(SLEEP), name)
    refused(409, "ContainerGroupTransitioning", client.container_groups.stop, GROUP, name)
    refused(409, "ContainerGroupTransitioning", client.containers.list_logs, GROUP, name, "run")
    emulator.faults.clear()
    until_state(client, name, "Running")
    assert (
        send(emulator, "GET", path.partition(emulator.subscription)[2], version=version)[1]["status"]
        == "Succeeded"
    )


async def test_the_sdk_waits_for_it(emulator):
    async with client_aio(emulator) as client:
        poller = await client.container_groups.begin_create_or_update(GROUP, new_name(), group("exit 0"))
        assert (await poller.result()).provisioning_state == "Succeeded"


def client_aio(emulator):
    from azure.core.credentials import AzureKeyCredential
    from azure.core.pipeline.policies import AzureKeyCredentialPolicy

    class Credential(NoCredential):
        async def __aenter__(self):
            return self

        async def __aexit__(self, *error):
            pass

        async def close(self):
            pass

    key = AzureKeyCredential(emulator.token)
    policy = AzureKeyCredentialPolicy(key, "Authorization", prefix="Bearer")
    return AsyncClient(
        Credential(),
        emulator.subscription,
        emulator.endpoint,
        authentication_policy=policy,
        polling_interval=0,
    )


def test_a_second_creation_starts_the_container_again(client):
    # Given a group that runs
    name = create(client, group(SLEEP))
    until_says(client, name, "here")
    # When it is created again, with another command
    create(client, group("echo again; exit 7"), name)
    # Then that runs
    found = until_state(client, name, "Failed")
    assert current(found)["exitCode"] == 7
    assert client.containers.list_logs(GROUP, name, "run").content == "again\n"


def test_what_an_update_may_not_change_is_refused(client):
    name = create(client, group(SLEEP))
    until_state(client, name, "Running")
    more = ResourceRequirements(requests=ResourceRequests(cpu=1, memory_in_gb=0.2))
    for definition in (group(SLEEP, restart_policy="Always"), group(resources=more), group(subnet_ids=None)):
        error = refused(400, "InvalidContainerGroupUpdate", create, client, definition, name)
        assert "you must delete it first" in error.message
    refused(409, "InvalidResourceLocation", create, client, group(location="westeurope"), name)
    assert client.container_groups.get(GROUP, name).instance_view.state == "Running"


def test_tags_are_replaced_and_the_container_runs_on(client):
    name = create(client, group(SLEEP, tags={"a": "1"}))
    started = current(until_state(client, name, "Running"))["startTime"]
    found = client.container_groups.update(GROUP, name, Resource(tags={"b": "2"}))
    assert found.tags == {"b": "2"}
    assert current(client.container_groups.get(GROUP, name))["startTime"] == started
    refused(400, "InvalidRequestContent", client.container_groups.update, GROUP, name, Resource(zones=["1"]))


def test_a_group_is_stopped_and_started(client):
    name = create(client, group(SLEEP))
    until_says(client, name, "here")
    # When it is stopped
    client.container_groups.stop(GROUP, name)
    found = client.container_groups.get(GROUP, name)
    assert (found.instance_view.state, current(found)["exitCode"]) == ("Stopped", 137)
    client.container_groups.stop(GROUP, name)
    # And started
    client.container_groups.begin_start(GROUP, name, polling=False)
    until_state(client, name, "Running")
    assert until_says(client, name, "here") == "here\n"
    # And restarted
    first = current(client.container_groups.get(GROUP, name))["startTime"]
    client.container_groups.begin_restart(GROUP, name, polling=False)
    until(client, name, lambda found: current(found).get("startTime", first) > first)


def test_stopping_what_has_ended_changes_nothing(client):
    name = create(client, group("true"))
    before = until_state(client, name, "Succeeded").serialize(keep_readonly=True)
    client.container_groups.stop(GROUP, name)
    assert client.container_groups.get(GROUP, name).serialize(keep_readonly=True) == before


def test_the_restart_policy_says_what_is_run_again(client):
    # Given a command that fails
    always = create(client, group("exit 1", restart_policy="OnFailure"))
    # Then it is run again, and the group does not fail
    found = until(client, always, lambda g: g.containers[0].instance_view.restart_count >= 2)
    view = found.containers[0].instance_view
    assert (found.instance_view.state, view.previous_state.exit_code) == ("Running", 1)
    assert "BackOff" in {event.name for event in view.events}
    # And one that succeeds is not
    once = create(client, group("exit 0", restart_policy="OnFailure"))
    found = until_state(client, once, "Succeeded")
    assert found.containers[0].instance_view.restart_count == 0


def test_a_deleted_group_is_gone_with_what_runs(client):
    # Given a group in no subnet, whose state does not matter, and one that runs
    bare = create(client, group(subnet_ids=None))
    name = create(client, group(SLEEP))
    until_says(client, name, "here")
    # When they are deleted, once and once more
    assert client.container_groups.begin_delete(GROUP, bare, polling=False).result().name == bare
    client.container_groups.begin_delete(GROUP, name, polling=False)
    client.container_groups.begin_delete(GROUP, name, polling=False)
    # Then they are not there
    refused(404, "ResourceNotFound", client.container_groups.get, GROUP, name)
    refused(404, "ResourceNotFound", client.containers.list_logs, GROUP, name, "run")
    assert list(client.container_groups.list()) == []


def test_lists_come_in_pages_without_instance_views(emulator, client):
    emulator.faults.add("stuck_pending")
    names = sorted(create(client, group()) for _ in range(5))
    for found in (client.container_groups.list(), client.container_groups.list_by_resource_group(GROUP)):
        listed = list(found)
        assert [group.name for group in listed] == names
        assert [group.instance_view for group in listed] == [None] * 5
    pages = client.container_groups.list().by_page()
    assert [len(list(page)) for page in pages] == [2, 2, 1]
    assert send(emulator, "GET", path_of("")[:-1] + "?$skiptoken=x&x=y", version=None)[0] == 400


def test_logs_are_given_from_their_end(client):
    name = create(client, group("seq 1 3000; sleep 1000"))
    until_says(client, name, "\n3000\n")

    def log(**options):
        return client.containers.list_logs(GROUP, name, "run", **options).content

    # While it runs, all of them, or as many lines as are asked for
    assert log().splitlines() == [str(n) for n in range(1, 3001)]
    assert log(tail=2) == "2999\n3000\n"
    [line] = log(tail=1, timestamps=True).splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 3000", line)
    # Once it has ended, the last thousand lines, or 16 KB
    client.container_groups.stop(GROUP, name)
    assert log().splitlines() == [str(n) for n in range(2001, 3001)]
    refused(404, "ContainerNotFound", client.containers.list_logs, GROUP, name, "other")


def test_a_long_line_of_what_has_ended_is_cut(client):
    name = create(client, group("head -c 20000 /dev/zero | tr '\\0' x"))
    until_state(client, name, "Succeeded")
    assert client.containers.list_logs(GROUP, name, "run").content == "x" * 16384


def test_an_image_that_is_nowhere_fails_the_deployment(client):
    name = create(client, group(image="registry.example/nothing:1"))
    found = until_state(client, name, "Failed")
    assert found.provisioning_state == "Failed"
    assert current(found)["state"] == "Waiting"
    [failed] = [event for event in found.containers[0].instance_view.events if event.name == "Failed"]
    assert "registry.example/nothing:1" in failed.message
    assert failed.count >= 3


def test_quotas_hold():
    # Given a subscription that may have two groups and one and a half cores, and make four in five minutes
    limits = Limits(groups=2, cores=1.5, per_five_minutes=4)
    with ArmEmulator(images={IMAGE: ()}, isolated_subnets=[SUBNET], limits=limits) as emulator:
        emulator.faults.add("stuck_pending")
        with client_of(emulator) as client:
            one = ResourceRequirements(requests=ResourceRequests(cpu=1, memory_in_gb=1))
            first = create(client, group(resources=one))
            error = refused(409, "ContainerGroupQuotaReached", create, client, group(resources=one))
            assert (
                "'StandardCores' exceeded in region 'centralindia'. Limit: '1.5', Usage: '1'" in error.message
            )
            create(client, group())
            error = refused(409, "ContainerGroupQuotaReached", create, client, group())
            assert "'ContainerGroups'" in error.message
            used = {
                u.name.value: (u.current_value, u.limit) for u in client.location.list_usage("centralindia")
            }
            assert used["ContainerGroups"] == (2, 2)
            # When one is deleted, there is room for another, until too many were made
            for _ in range(2):
                client.container_groups.begin_delete(GROUP, first, polling=False)
                create(client, group(), first)
            client.container_groups.begin_delete(GROUP, first, polling=False)
            error = refused(429, "TooManyRequests", create, client, group())
            assert 0 < int(error.response.headers["Retry-After"]) <= 300
            # And no region has room for a group of five cores
            five = ResourceRequirements(requests=ResourceRequests(cpu=5, memory_in_gb=1))
            refused(409, "ServiceUnavailable", create, client, group(resources=five))
