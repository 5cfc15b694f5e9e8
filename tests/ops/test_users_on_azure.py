"""`lightning users` on an operator's laptop, which asks Azure as who is logged in there."""

import json
import time

import jwt
import pytest
from azure.cosmos import CosmosClient, PartitionKey
from azure.cosmos.documents import SSLConfiguration
from typer.testing import CliRunner

from lightning.storage.cosmos_account import PARTITION_PATH
from lightning.storage.cosmos_indexes import indexing_policy
from lightning.storage.port import CONTAINERS
from ops.cli import app
from ops.emulators.cosmos import CosmosEmulator
from tests.azure_cli import give_az


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An account as it is deployed: reached by HTTPS, with an identity, and its containers are there."""
    with CosmosEmulator(https=True, accept_tokens=True) as emulator:
        trusted = tmp_path_factory.mktemp("account") / "emulator.pem"
        trusted.write_bytes(emulator.certificate)
        options = {"ssl_config": SSLConfiguration(), "connection_verify": str(trusted)}
        with CosmosClient(
            emulator.endpoint, emulator.key, enable_endpoint_discovery=False, **options
        ) as client:
            database = client.create_database("lightning")
            for name, container in CONTAINERS.items():
                policy = indexing_policy(container)
                database.create_container(name, PartitionKey(PARTITION_PATH), indexing_policy=policy)
        yield emulator


@pytest.fixture
def laptop(account, tmp_path, monkeypatch):
    """The command, where the account and who asks are all that is set."""
    settings = {
        "LIGHTNING_STORAGE": "cosmos",
        "COSMOS_ENDPOINT": account.endpoint,
        "LIGHTNING_IDENTITY": "az",
        "LIGHTNING_DATA": str(tmp_path / "data"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    az = give_az(tmp_path, monkeypatch)

    def users(*arguments, fails=False):
        ran = CliRunner().invoke(app, ["users", *arguments])
        assert ran.exit_code == int(fails), ran.output
        return ran.stderr if fails else ran.stdout

    return az, users


def token(expires_in: float = 3600) -> str:
    return jwt.encode({"aud": "https://cosmos.azure.com", "exp": int(time.time() + expires_in)}, "k" * 32)


def test_an_operator_is_made_from_a_laptop(laptop):
    # Given somebody who is logged in, with a role on the account
    az, users = laptop
    az.answers(token())
    # When they make an account, and an operator of it
    users("add", "ada", "--json")
    made = json.loads(users("role", "ada", "operator", "--json"))
    # Then it is one, and nothing was asked but a token for the store
    assert (made["username"], made["role"]) == ("ada", "operator")
    assert set(az.asked()) == {"https://127.0.0.1"}  # the SDK asks for a token for the account


def test_who_is_refused_or_not_logged_in_is_told_what_to_do(laptop):
    az, users = laptop
    az.answers(token(expires_in=-60))
    assert "the role of the identity on the account" in users("list", fails=True)
    az.fails("ERROR: Please run 'az login' to setup account.")
    assert "no token" in (said := users("list", fails=True))
    assert "az login" in said
