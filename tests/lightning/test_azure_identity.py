"""As whom Azure is asked: the process's managed identity, or whoever is logged in by `az`."""

import time

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from brokers import open_broker
from lightning.azure_identity import AsyncIdentity, Identity, own_identity
from lightning.settings import Settings
from tests.azure_cli import give_az


async def test_az_gives_the_token_of_who_is_logged_in(tmp_path, monkeypatch):
    # Given an operator's laptop
    az = give_az(tmp_path, monkeypatch)
    az.answers("the-token")
    identity = Identity("az")
    # When a service wants a token, then it is what az says, for that service
    scope = "https://cosmos.azure.com/.default"
    assert identity.get_token(scope).token == "the-token"
    assert az.asked() == ["https://cosmos.azure.com"]
    # And from an event loop too
    given = await AsyncIdentity(identity).get_token(scope)
    assert (given.token, given.expires_on > time.time()) == ("the-token", True)


def test_nobody_is_logged_in(tmp_path, monkeypatch):
    give_az(tmp_path, monkeypatch).fails("ERROR: Please run 'az login' to setup account.")
    with pytest.raises(ClientAuthenticationError, match="az login"):
        Identity("az").get_token("https://cosmos.azure.com/.default")


def test_elsewhere_it_is_the_managed_identity_and_one_for_all_services():
    # nothing is asked: a managed identity is there on Azure only
    assert isinstance(Identity("managed", "a-client")._opened(), ManagedIdentityCredential)
    assert str(Identity("managed", "a-client")) == "the managed identity a-client"
    assert own_identity("managed", "a") is own_identity("managed", "a")
    assert own_identity("managed", "a") is not own_identity("az", "a")


def test_the_settings_choose_who_asks():
    given = {"LIGHTNING_BROKER": "servicebus", "SERVICEBUS_NAMESPACE": "name.servicebus.windows.net"}
    for kind in ("managed", "az"):
        settings = Settings.load({**given, "LIGHTNING_IDENTITY": kind, "AZURE_CLIENT_ID": "c"})
        broker = open_broker(settings)
        namespace = broker._open_namespace()
        assert namespace._credential is own_identity(kind, "c")
        broker.close()
