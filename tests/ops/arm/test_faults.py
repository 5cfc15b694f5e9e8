"""Faults: what each does to a request or to a group, and how they are put in force."""

import json
import time
import urllib.error
import urllib.request

import pytest
from azure.core.exceptions import ServiceResponseError

from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import ArmError
from ops.emulators.arm.faults import Fault
from ops.emulators.arm.quotas import Limits, Quotas
from tests.ops.arm.conftest import (
    GROUP,
    client_of,
    create,
    current,
    group,
    new_name,
    refused,
    until_says,
    until_state,
)
from tests.ops.arm.test_definitions import body_of, path_of, send


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("throttle", 429, "TooManyRequests"),
        ("quota", 409, "ContainerGroupQuotaReached"),
        ("capacity", 409, "ServiceUnavailable"),
        ("transitioning", 409, "ContainerGroupTransitioning"),
        ("internal", 500, "InternalServerError"),
        ("bad_gateway", 502, "BadGateway"),
        ("unavailable", 503, "ServerUnavailable"),
    ],
)
def test_a_refusal_is_injected_as_often_as_asked(emulator, client, kind, status, code):
    fault = emulator.faults.add(kind, operations=["list"], count=1, retry_after_seconds=7)
    error = refused(status, code, list, client.container_groups.list())
    assert error.response.headers.get("Retry-After") == ("7" if kind == "throttle" else None)
    assert list(client.container_groups.list()) == []
    assert fault.fired == 1


def test_a_creation_whose_answer_is_lost_was_made(emulator, client):
    emulator.faults.add("drop", operations=["create"], when="after", count=1)
    name = new_name()
    with pytest.raises(ServiceResponseError):
        create(client, group(), name)
    assert until_state(client, name, "Succeeded").name == name


def test_an_answer_is_held_back(emulator, client):
    fault = emulator.faults.add("latency", operations=["list"], seconds=0.05, count=1)
    began = time.monotonic()
    assert list(client.container_groups.list()) == []
    assert time.monotonic() - began >= 0.05
    assert fault.fired == 1


def test_a_group_of_another_name_is_spared(emulator, client):
    emulator.faults.add("internal", group="bad-")
    assert create(client, group()).startswith("g")
    refused(500, "InternalServerError", create, client, group(), "bad-one")


def test_a_deployment_fails_after_it_was_accepted(emulator, client):
    emulator.faults.add("fail_provisioning", count=1)
    name = create(client, group())
    found = until_state(client, name, "Failed")
    assert found.provisioning_state == "Failed"
    assert [event.type for event in found.containers[0].instance_view.events] == ["Warning"]
    assert current(found)["state"] == "Waiting"


def test_a_deployment_that_hangs_can_be_deleted(emulator, client):
    emulator.faults.add("stuck_pending")
    name = create(client, group())
    assert client.container_groups.get(GROUP, name).provisioning_state == "Pending"
    client.container_groups.begin_delete(GROUP, name, polling=False)
    refused(404, "ResourceNotFound", client.container_groups.get, GROUP, name)


def test_an_image_cannot_be_pulled(emulator, client):
    emulator.faults.add("pull_fails", count=1)
    found = until_state(client, create(client, group()), "Failed")
    assert [event.name for event in found.containers[0].instance_view.events] == ["Failed", "BackOff"]


def test_a_container_is_killed_for_its_memory(emulator, client):
    emulator.faults.add("out_of_memory", count=1, seconds=0.05)
    found = until_state(client, create(client, group("sleep 1000")), "Failed")
    state = current(found)
    assert (state["state"], state["exitCode"], state["detailStatus"]) == ("Terminated", 137, "OOMKilled")


def test_logs_are_cut(emulator, client):
    name = create(client, group("seq 1 100; sleep 1000"))
    until_says(client, name, "\n100\n")
    emulator.faults.add("truncate_logs", lines=2, count=1)
    assert client.containers.list_logs(GROUP, name, "run").content == "99\n100\n"
    assert client.containers.list_logs(GROUP, name, "run", tail=3).content == "98\n99\n100\n"


def control(emulator, method: str, path: str, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(emulator.control_url + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_faults_are_controlled_from_outside(emulator, client):
    assert control(emulator, "DELETE", "/usage") == (204, None)
    status, fault = control(emulator, "POST", "/faults", {"kind": "throttle", "operations": ["get"]})
    assert (status, fault["kind"], fault["fired"]) == (201, "throttle", 0)
    refused(429, "TooManyRequests", client.container_groups.get, GROUP, "x")
    assert control(emulator, "GET", "/faults")[1][0]["fired"] == 1
    assert control(emulator, "DELETE", "/faults") == (204, None)
    create(client, group())
    assert control(emulator, "GET", "/usage") == (
        200,
        {"requests": {"get": 1, "create": 1}, "deployments": 1},
    )
    status, answer = control(emulator, "POST", "/faults", {"kind": "flood"})
    assert (status, "kind must be one of" in answer["error"]) == (400, True)
    assert control(emulator, "POST", "/faults", [])[0] == 400


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "flood"},
        {"kind": "throttle", "when": "after"},
        {"kind": "throttle", "when": "during"},
        {"kind": "latency", "seconds": -1},
        {"kind": "internal", "probability": 2},
        {"kind": "internal", "operations": ["fly"]},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"must|cannot"):
        Fault(**options)


def test_dice_are_thrown_alike_by_the_same_seed():
    rolls = [[Fault("internal", probability=0.5, seed=3).happens("get", "g") for _ in range(9)] for _ in "ab"]
    assert rolls[0] == rolls[1]
    again = Fault("internal", probability=0.5, seed=3)
    assert {True, False} == {again.happens("get", "g") for _ in range(50)}


def test_what_was_made_too_often_can_be_made_later():
    # Given two creations in five minutes, three in an hour
    times = {"at": 0.0}
    quotas = Quotas(Limits(per_five_minutes=2, per_hour=3), lambda: times["at"])
    asked = Definition.model_validate(body_of())

    def refused_for():
        with pytest.raises(ArmError) as caught:
            quotas.admit(asked, [])
        assert caught.value.status == 429
        return int(caught.value.headers["Retry-After"])

    quotas.admit(asked, [])
    times["at"] = 100
    quotas.admit(asked, [])
    assert refused_for() == 200
    times["at"] = 301
    quotas.admit(asked, [])
    times["at"] = 2000
    assert refused_for() == 1600
    times["at"] = 3601
    quotas.admit(asked, [])


def test_only_the_token_opens(emulator):
    with client_of(emulator, token="wrong") as client:
        error = refused(401, "InvalidAuthenticationToken", client.container_groups.get, GROUP, "x")
        assert error.response.headers["WWW-Authenticate"].startswith("Bearer")
    request = urllib.request.Request(f"{emulator.endpoint}/subscriptions/x")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as answer:
        assert (answer.code, json.loads(answer.read())["error"]["code"]) == (401, "AuthenticationFailed")
    with client_of(emulator, subscription="another") as client:
        refused(404, "SubscriptionNotFound", client.container_groups.get, GROUP, "x")
    assert send(emulator, "GET", path_of("x"))[0] == 404
