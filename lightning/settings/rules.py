"""What stands for a part that nobody chose, and what one variable demands of the others."""

from collections.abc import Iterator, Mapping
from typing import Final

from lightning.settings.fields import FIELDS, example_of
from lightning.settings.problem import SettingsProblem

#: A shorter life of access tokens is only for tests.
_MIN_TOKEN_SECONDS: Final = 900

#: What stands for each part where nothing else is asked for.
_PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "azure": {
        "LIGHTNING_BROKER": "servicebus",
        "LIGHTNING_STORAGE": "cosmos",
        "LIGHTNING_RUNNER": "aci",
        "LIGHTNING_LLM": "openai",
    },
}

#: A part, the choice, and the variable without which that choice cannot work; another may stand for it.
_NEEDS: Final = (
    ("LIGHTNING_BROKER", "servicebus", "SERVICEBUS_CONNECTION"),
    ("LIGHTNING_STORAGE", "cosmos", "COSMOS_CONNECTION"),
    ("LIGHTNING_RUNNER", "aci", "WORKER_IMAGE"),
    ("LIGHTNING_RUNNER", "aci", "ACI_RESOURCE_GROUP"),
    ("LIGHTNING_RUNNER", "aci", "ACI_SUBSCRIPTION"),
    ("LIGHTNING_RUNNER", "aci", "LIGHTNING_PUBLIC_URL"),
    ("LIGHTNING_LLM", "openai", "OPENAI_API_KEY"),
    ("LIGHTNING_LLM", "azure-openai", "OPENAI_BASE_URL"),
    ("LIGHTNING_MODE", "azure", "JWT_SIGNING_KEY"),
)

#: What may stand in the place of such a variable.
_INSTEAD: Final = {
    "SERVICEBUS_CONNECTION": "SERVICEBUS_NAMESPACE",
    "COSMOS_CONNECTION": "COSMOS_ENDPOINT",
    "ACI_SUBSCRIPTION": "ACI_EMULATOR",
    "LIGHTNING_PUBLIC_URL": "ACI_EMULATOR",
}

_CONNECTIONS: Final = ("SERVICEBUS_CONNECTION", "COSMOS_CONNECTION", "ACI_SUBSCRIPTION")

#: These are set together or not at all.
_REGISTRY: Final = ("ACI_REGISTRY_SERVER", "ACI_REGISTRY_USERNAME", "ACI_REGISTRY_PASSWORD")


def decided_by(given: Mapping[str, str]) -> dict[str, str]:
    """Decide the parts of which nothing is said by what is said otherwise."""
    return {**_PARTS.get(given.get("LIGHTNING_MODE", ""), {}), **_language_model(given), **given}


def _language_model(given: Mapping[str, str]) -> dict[str, str]:
    return {"LIGHTNING_LLM": "openai"} if "OPENAI_API_KEY" in given or "OPENAI_BASE_URL" in given else {}


def broken_rules(given: Mapping[str, str], decided: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Check what one variable says against what the others say."""
    azure = given.get("LIGHTNING_MODE") == "azure"
    for part, choice, needed in _NEEDS:
        chosen = decided.get(part) == choice
        places = dict.fromkeys((needed, _INSTEAD.get(needed, needed)))
        found = [name for name in places if name in given]
        if chosen and not found:
            yield SettingsProblem(needed, f"it is required by {_cause(given, part)}", example_of(needed))
        elif needed in _CONNECTIONS and found and not azure and not chosen:
            message = f"it connects to Azure, but neither LIGHTNING_MODE=azure nor {part}={choice} is set"
            for name in found:
                yield SettingsProblem(name, message, "LIGHTNING_MODE=azure")
    if "LIGHTNING_EXPIRE_DAYS" in given and decided.get("LIGHTNING_STORAGE", "sqlite") == "sqlite":
        message = "SQLite keeps everything; only Cosmos DB lets events expire"
        yield SettingsProblem("LIGHTNING_EXPIRE_DAYS", message, "LIGHTNING_STORAGE=cosmos")
    if "JWT_SIGNING_KEY_PREVIOUS" in given and "JWT_SIGNING_KEY" not in given:
        message = "there is a key before it, so it must be set too"
        yield SettingsProblem("JWT_SIGNING_KEY", message, example_of("JWT_SIGNING_KEY"))
    if "LIGHTNING_CRASH_AT" in given and given.get("LIGHTNING_TESTING") != "1":
        yield SettingsProblem("LIGHTNING_CRASH_AT", "it is only for tests", "LIGHTNING_TESTING=1")
    seconds = given.get("LIGHTNING_TOKEN_SECONDS", "")
    if (
        seconds.isdecimal()
        and 0 < int(seconds) < _MIN_TOKEN_SECONDS
        and given.get("LIGHTNING_TESTING") != "1"
    ):
        message = f"input should be greater than or equal to {_MIN_TOKEN_SECONDS}"
        yield SettingsProblem("LIGHTNING_TOKEN_SECONDS", message, example_of("LIGHTNING_TOKEN_SECONDS"))
    yield from _shared_containers(given)
    yield from _registry_in_part(given)


def _registry_in_part(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    missing = [name for name in _REGISTRY if name not in given]
    if len(missing) < len(_REGISTRY):
        for name in missing:
            yield SettingsProblem(name, "it is required by the others of ACI_REGISTRY_*", example_of(name))


def _cause(given: Mapping[str, str], part: str) -> str:
    """Name the variable that decided about a part."""
    if part in given:
        return f"{part}={given[part]}"
    return "LIGHTNING_MODE=azure" if given.get("LIGHTNING_MODE") == "azure" else "OPENAI_BASE_URL"


def _shared_containers(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    seen: set[str] = set()
    for name, (_, field) in FIELDS.items():
        if name.endswith("_CONTAINER"):
            container = given.get(name, str(field.default))
            if container in seen:
                message = "two kinds of documents cannot share one container"
                yield SettingsProblem(name, message, f"{name}=lightning-{container}")
            seen.add(container)
