"""The script that gives an operator's laptop the settings of an app."""

import os
import subprocess

from lightning.settings import Settings
from tests.architecture.tree import ROOT

#: What `az webapp config appsettings list` prints: names and values with tabs between.
PRINTED = {
    "LIGHTNING_MODE": "azure",
    "LIGHTNING_DATA": "/var/lib/lightning",
    "PORT": "8000",
    "WEBSITES_PORT": "8000",
    "AZURE_CLIENT_ID": "00000000-0000-0000-0000-0000000000cc",
    "SERVICEBUS_NAMESPACE": "acme-dev-bus.servicebus.windows.net",
    "COSMOS_ENDPOINT": "https://acme-dev-cosmos.documents.azure.com",
    "WORKER_IMAGE": "acmedevacr.azurecr.io/agents:1",
    "ACI_SUBSCRIPTION": "00000000-0000-0000-0000-0000000000aa",
    "ACI_RESOURCE_GROUP": "acme-dev-runs",
    "LIGHTNING_PUBLIC_URL": "https://acme-dev-web.azurewebsites.net",
    "JWT_SIGNING_KEY": "@Microsoft.KeyVault(VaultName=acme-dev-kv;SecretName=jwt-signing-key)",
    "OPENAI_API_KEY": "@Microsoft.KeyVault(VaultName=acme-dev-kv;SecretName=openai-api-key)",
}
AZ = """#!/bin/sh
echo "az $*" >> "{folder}/calls"
case "$*" in
  *"appsettings list"*) cat "{folder}/settings" ;;
  *"--name jwt-signing-key "*) echo 'a $(secret) of "32" bytes, at the very least' ;;
  *"--name openai-api-key "*) [ ! -e "{folder}/refused" ] && echo sk-canary ;;
  *) exit 1 ;;
esac
"""


def given(folder, *arguments: str) -> tuple[int, dict[str, str]]:
    """Read what the script prints as a shell does, and give the names and values that it would export."""
    (folder / "settings").write_text("".join(f"{name}\t{value}\n" for name, value in PRINTED.items()))
    (folder / "az").write_text(AZ.replace("{folder}", str(folder)))
    (folder / "az").chmod(0o755)
    program = f'out=$({ROOT}/infra/environment.sh {" ".join(arguments)}) && set -a && eval "$out" && env -0'
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", program], env=environment, capture_output=True, timeout=60, check=False
    )
    pairs = (pair.split("=", 1) for pair in ran.stdout.decode().split("\0") if "=" in pair)
    return ran.returncode, {name: value for name, value in pairs if name not in {"PATH", "PWD", "SHLVL", "_"}}


def test_the_settings_are_the_apps_with_the_secrets_in_them_and_who_is_signed_in(tmp_path):
    status, environ = given(tmp_path, "acme", "dev")
    assert status == 0
    of_the_machine = {"LIGHTNING_DATA", "PORT", "WEBSITES_PORT", "AZURE_CLIENT_ID"}
    assert environ.keys() == PRINTED.keys() - of_the_machine | {"LIGHTNING_IDENTITY"}
    assert environ["JWT_SIGNING_KEY"] == 'a $(secret) of "32" bytes, at the very least'
    settings = Settings.load(environ)
    assert (settings.identity, settings.azure_client_id) == ("az", None)
    assert settings.cosmos_endpoint == PRINTED["COSMOS_ENDPOINT"]
    first = (tmp_path / "calls").read_text().splitlines()[0]
    assert "--resource-group acme-dev-group --name acme-dev-worker " in first


def test_a_secret_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "refused").touch()
    status, environ = given(tmp_path, "acme", "prod", "clock", "2")
    assert (status, environ) == (1, {})
    first = (tmp_path / "calls").read_text().splitlines()[0]
    assert "--resource-group acme-prod-group2 --name acme-prod-clock2 " in first
