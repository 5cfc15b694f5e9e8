"""What a container group may be made of: everything else is refused by name."""

import json
import urllib.error
import urllib.request

import pytest
from azure.mgmt.containerinstance.models import (
    ContainerGroupIdentity,
    EnvironmentVariable,
    ImageRegistryCredential,
    Volume,
    VolumeMount,
)

from tests.ops.arm.conftest import GROUP, IMAGE, create, group, new_name, refused, until_state

IDENTITY = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/someone"
)


def send(emulator, method: str, path: str, body=None, version: str | None = "2023-05-01", token=None):
    """Ask without the SDK. Gives status, body and headers."""
    query = f"?api-version={version}" if version else ""
    request = urllib.request.Request(
        f"{emulator.endpoint}/subscriptions/{emulator.subscription}{path}{query}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token or emulator.token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers


def path_of(name: str, more: str = "") -> str:
    return f"/resourceGroups/{GROUP}/providers/Microsoft.ContainerInstance/containerGroups/{name}{more}"


def body_of(**properties) -> dict:
    container = {
        "name": "run",
        "properties": {
            "image": IMAGE,
            "command": ["true"],
            "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
        },
    }
    usual = {"osType": "Linux", "restartPolicy": "Never", "containers": [container]}
    return {"location": "centralindia", "properties": usual | properties}


def with_container(**properties) -> dict:
    body = body_of()
    body["properties"]["containers"][0]["properties"] |= properties
    return body


OUTSIDE = {
    "initContainers": body_of(initContainers=[]),
    "ipAddress": body_of(ipAddress={"type": "Public", "ports": []}),
    "diagnostics": body_of(diagnostics={}),
    "sku": body_of(sku="Confidential"),
    "priority": body_of(priority="Spot"),
    "dnsConfig": body_of(dnsConfig={"nameServers": []}),
    "zones": body_of() | {"zones": ["1"]},
    "azureFile": body_of(volumes=[{"name": "share", "azureFile": {"shareName": "x"}}]),
    "emptyDir": body_of(volumes=[{"name": "share", "emptyDir": {}}]),
    "gpu": with_container(resources={"requests": {"cpu": 1, "memoryInGB": 1, "gpu": {}}}),
    "limits": with_container(resources={"requests": {"cpu": 1, "memoryInGB": 1}, "limits": {"cpu": 1}}),
    "livenessProbe": with_container(livenessProbe={"exec": {"command": ["true"]}}),
    "securityContext": with_container(securityContext={"privileged": True}),
    "ports": with_container(ports=[{"port": 80}]),
    "Windows": body_of(osType="Windows"),
    "more than one container": body_of(containers=2 * body_of()["properties"]["containers"]),
    "mount path /etc": {
        **body_of(
            volumes=[{"name": "files", "secret": {}}],
            containers=with_container(volumeMounts=[{"name": "files", "mountPath": "/etc"}])["properties"][
                "containers"
            ],
        )
    },
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_what_is_outside_the_subset_is_named(emulator, what):
    status, answer, _ = send(emulator, "PUT", path_of(new_name()), OUTSIDE[what])
    assert (status, answer["error"]["code"]) == (400, "OutsideEmulatorSubset")
    assert what in answer["error"]["message"]


INVALID = {
    "location": body_of() | {"location": ""},
    "could not find member 'colour'": body_of(colour="red"),
    "restartPolicy": body_of(restartPolicy="Sometimes"),
    "containers": body_of(containers=[]),
    "cpu": with_container(resources={"requests": {"cpu": 0, "memoryInGB": 1}}),
    "memoryInGB": with_container(resources={"requests": {"cpu": 1}}),
    "image": with_container(image=""),
    "value and secureValue": with_container(environmentVariables=[{"name": "A"}]),
    "underscores": with_container(environmentVariables=[{"name": "_A", "value": ""}]),
    "unknown volume 'files'": with_container(volumeMounts=[{"name": "files", "mountPath": "/workspace/x"}]),
    "'files' is given twice": body_of(volumes=2 * [{"name": "files", "secret": {}}]),
    "base64": body_of(volumes=[{"name": "files", "secret": {"a": "no base64!"}}]),
    "neither username": body_of(imageRegistryCredentials=[{"server": "x", "username": "u"}]),
    "subnet": body_of(subnetIds=[{"id": "mine"}]),
    "userAssignedIdentities": body_of() | {"identity": {"type": "UserAssigned"}},
    "tag name 'a/b'": body_of() | {"tags": {"a/b": "1"}},
    "51 tags": body_of() | {"tags": {str(n): "" for n in range(51)}},
}


@pytest.mark.parametrize("what", INVALID)
def test_what_azure_refuses_is_refused(emulator, what):
    status, answer, _ = send(emulator, "PUT", path_of(new_name()), INVALID[what])
    assert status == 400
    assert answer["error"]["code"] != "OutsideEmulatorSubset"
    assert what in answer["error"]["message"]


@pytest.mark.parametrize("body", [[], "text", None])
def test_a_body_that_is_no_object_is_refused(emulator, body):
    status, answer, _ = send(emulator, "PUT", path_of(new_name()), body)
    assert (status, answer["error"]["code"]) == (400, "InvalidRequestContent")


@pytest.mark.parametrize(
    ("method", "path", "version", "status", "code"),
    [
        ("POST", path_of("g", "/containers/run/exec"), "2023-05-01", 400, "OutsideEmulatorSubset"),
        ("POST", path_of("g", "/containers/run/attach"), "2023-05-01", 400, "OutsideEmulatorSubset"),
        ("POST", path_of("g"), "2023-05-01", 400, "OutsideEmulatorSubset"),
        ("GET", path_of("g"), None, 400, "MissingApiVersionParameter"),
        ("GET", path_of("g"), "2018-10-01", 400, "NoRegisteredProviderFound"),
        ("PUT", path_of("Not-A-Name"), "2023-05-01", 400, "InvalidContainerGroupName"),
        ("GET", "/providers/Microsoft.Compute/virtualMachines", "2023-05-01", 404, "InvalidResourceType"),
        ("GET", path_of("g").replace(GROUP, "other", 1), "2023-05-01", 404, "ResourceGroupNotFound"),
    ],
)
def test_what_is_not_there_is_said(emulator, method, path, version, status, code):
    found, answer, _ = send(emulator, method, path, {}, version)
    assert (found, answer["error"]["code"]) == (status, code)


def test_secrets_are_never_shown_again(client):
    # Given a group with secrets of every kind
    definition = group(
        "echo $PLAIN $HIDDEN; cat /workspace/files/one",
        environment_variables=[
            EnvironmentVariable(name="PLAIN", value="plain"),
            EnvironmentVariable(name="HIDDEN", secure_value="canary-1"),
        ],
        image_registry_credentials=[
            ImageRegistryCredential(server="other.example", username="pull", password="canary-2")
        ],
        volumes=[Volume(name="files", secret={"one": "Y2FuYXJ5LTM="})],
        volume_mounts=[VolumeMount(name="files", mount_path="/workspace/files", read_only=True)],
    )
    name = create(client, definition)
    # When it has run
    found = until_state(client, name, "Succeeded", "Failed")
    # Then the code inside had them
    assert client.containers.list_logs(GROUP, name, "run").content == "plain canary-1\ncanary-3"
    # And whoever reads the group has not
    shown = json.dumps(found.serialize(keep_readonly=True))
    listed = json.dumps([g.serialize(keep_readonly=True) for g in client.container_groups.list()])
    assert '"plain"' in shown
    for text in (shown, listed):
        assert "HIDDEN" in text
        assert "canary" not in text
        assert "Y2FuYXJ5" not in text


def test_an_identity_is_kept(client):
    both = ContainerGroupIdentity(
        type="SystemAssigned, UserAssigned", user_assigned_identities={IDENTITY: {}}
    )
    name = create(client, group(identity=both))
    found = client.container_groups.get(GROUP, name)
    assert list(found.identity.user_assigned_identities) == [IDENTITY]
    assert found.identity.principal_id


def test_a_registry_wants_its_own_token(client):
    def with_password(password):
        credential = ImageRegistryCredential(server="private.example", username="pull", password=password)
        return group(image="private.example/agents:1", image_registry_credentials=[credential])

    error = refused(400, "InaccessibleImage", create, client, with_password("wrong"))
    assert "private.example/agents:1" in error.message
    refused(400, "InaccessibleImage", create, client, group(image="private.example/agents:1"))
    # With the right one it is pulled, if it is there
    name = create(client, with_password("right"))
    assert until_state(client, name, "Failed").provisioning_state == "Failed"
