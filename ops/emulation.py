"""What `lightning up --emulate-azure` takes from the environment, and what it refuses there."""

import secrets
from typing import Final

from lightning.settings import Settings, SettingsError, SettingsProblem, from_environment, given

#: What names a service of Azure; an emulator would stand in for it in silence.
SERVICES: Final = (
    *("SERVICEBUS_CONNECTION", "SERVICEBUS_NAMESPACE", "COSMOS_CONNECTION", "COSMOS_ENDPOINT"),
    *("ACI_SUBSCRIPTION", "ACI_EMULATOR", "ACI_RESOURCE_GROUP", "WORKER_IMAGE"),
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
)

#: In the data directory: what other commands need to reach the emulators.
ENVIRONMENT_FILE: Final = "azure.env"


def emulated_settings(**changes: object) -> Settings:
    """Read the settings of an installation in Azure mode whose services are yet to be started.

    An echo answers where no language model is named, since none has an emulator that could stand for it.

    Parameters:
      changes: What a command line says instead, as for `from_environment`.

    Returns:
      Settings of which the connections name nothing, and without a signing key that nobody gave.

    Raises:
      SettingsError: They are wrong, or name services that the emulators would stand in for.
    """
    _refuse_others()
    usual = {} if given("OPENAI_API_KEY", "OPENAI_BASE_URL") else {"LIGHTNING_LLM": "echo"}
    known_later = {
        "LIGHTNING_MODE": "azure",
        "SERVICEBUS_CONNECTION": "Endpoint=sb://127.0.0.1",
        "COSMOS_CONNECTION": "AccountEndpoint=http://127.0.0.1;AccountKey=none",
        "ACI_EMULATOR": "Endpoint=http://127.0.0.1;SubscriptionId=none;AccessToken=none",
        "ACI_RESOURCE_GROUP": "emulated",
        "WORKER_IMAGE": "emulated",
        "JWT_SIGNING_KEY": secrets.token_hex(32),
    }
    settings = from_environment(**{**known_later, **usual, **given(*usual, "JWT_SIGNING_KEY"), **changes})
    return settings if given("JWT_SIGNING_KEY") else settings.model_copy(update={"jwt_signing_key": None})


def _refuse_others() -> None:
    named = "it names a service of Azure, and --emulate-azure starts its own: unset it, or leave that out"
    problems = [SettingsProblem(name, named, f"unset {name}") for name in given(*SERVICES)]
    if given("LIGHTNING_MODE").get("LIGHTNING_MODE", "azure") != "azure":
        message = "--emulate-azure runs in LIGHTNING_MODE=azure, which it sets itself"
        problems.append(SettingsProblem("LIGHTNING_MODE", message, "unset LIGHTNING_MODE"))
    if problems:
        raise SettingsError(problems)
