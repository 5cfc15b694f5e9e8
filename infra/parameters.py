"""What differs between installations: the stack's settings, and the size of each environment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar, cast

import pulumi

from infra.names import Names
from infra.platform import CHAT

Environment = Literal["dev", "staging", "prod"]
Choice = TypeVar("Choice", bound=str)


@dataclass(frozen=True, slots=True)
class Size:
    """What an environment has.

    Parameters:
      bus: Tier of Service Bus; private endpoints need ``Premium``.
      throughput: Most request units in a second of the store, which scales by itself; None: serverless.
      plan: Size of the machines; `B1` has no slots and does not scale.
      workers: Instances of the worker, fewest and most.
      private: Whether the services are reached from the virtual network only.
      retention_days: How long telemetry is kept.
      messaging_units: What the tier ``Premium`` of Service Bus has.
    """

    bus: Literal["Standard", "Premium"]
    throughput: int | None
    plan: str
    workers: tuple[int, int]
    private: bool
    retention_days: int
    messaging_units: int = 1

    @property
    def has_slots(self) -> bool:
        """Whether a release is started beside the one before."""
        return not self.plan.startswith("B")


SIZES: Final[Mapping[Environment, Size]] = {
    "dev": Size("Standard", None, "B1", (1, 1), private=False, retention_days=30),
    "staging": Size("Premium", 1_000, "P0v3", (1, 3), private=True, retention_days=30),
    "prod": Size("Premium", 10_000, "P1v3", (2, 10), private=True, retention_days=90),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """The settings of a stack; `docs/deploy.md` tells what each is for."""

    environment: Environment
    size: Size
    names: Names
    location: str
    second_location: str | None
    active: Literal["first", "second"]
    image: str | None
    agents_image: str
    chat: bool
    llm: Literal["openai", "azure-openai"]
    openai_model: str
    openai_base_url: str | None
    registration: str
    operators: str
    monthly_budget: int
    budget_start: str | None
    secrets: Mapping[str, pulumi.Output[str]]

    @property
    def tags(self) -> dict[str, str]:
        """What every resource is tagged with."""
        return {
            "application": "lightning",
            "environment": self.environment,
            "managed-by": "pulumi",
            "owner": self.operators,
        }

    def image_of(self, process: str) -> str:
        """Give the image of a process: the chat's has more packages, and the tag of the others'."""
        image = str(self.image)
        return f"{CHAT}:{image.rpartition(':')[2]}" if process == CHAT else image


#: The only secret of the chat, which is nobody else's.
CHAT_SECRET: Final = "CHAINLIT_AUTH_SECRET"  # noqa: S105 -- its name

#: Secrets: the setting of the platform, the stack's setting, and whether the apps start without it.
SECRETS: Final = (
    ("JWT_SIGNING_KEY", "jwtSigningKey", True),
    ("JWT_SIGNING_KEY_PREVIOUS", "jwtSigningKeyPrevious", False),
    ("LIGHTNING_SECRET_KEY", "secretKey", True),
    ("LIGHTNING_SECRET_KEY_PREVIOUS", "secretKeyPrevious", False),
    ("NOTIFY_SECRET", "notifySecret", True),
    ("ACI_REGISTRY_PASSWORD", "registryPassword", True),
    ("OPENAI_API_KEY", "openaiApiKey", False),
    (CHAT_SECRET, "chatSecret", False),
)


def read_parameters(stack: str) -> Parameters:
    """Read the settings of the stack.

    Parameters:
      stack: Its name, which is the environment.

    Raises:
      ValueError: They do not fit together; it says what to set.
    """
    if stack not in SIZES:
        raise ValueError(f"there is no environment {stack!r}: name the stack {', '.join(SIZES)}")
    config, azure = pulumi.Config("lightning"), pulumi.Config("azure-native")
    secrets = {name: config.get_secret(key) for name, key, _ in SECRETS}
    found = Parameters(
        environment=stack,
        size=_size(config, SIZES[stack]),
        names=Names(config.require("name"), stack),
        location=azure.require("location"),
        second_location=config.get("secondLocation"),
        active=_one_of(config, "activeRegion", ("first", "second")),
        image=config.get("image"),
        agents_image=config.get("agentsImage") or "agents:latest",
        chat=config.get_bool("chat", default=True),
        llm=_one_of(config, "llm", ("openai", "azure-openai")),
        openai_model=config.get("openaiModel") or "gpt-4o-mini",
        openai_base_url=config.get("openaiBaseUrl"),
        registration=_one_of(config, "registration", ("invite", "closed", "open")),
        operators=config.require("operators"),
        monthly_budget=config.get_int("monthlyBudget") or 500,
        budget_start=config.get("budgetStart"),
        secrets={name: value for name, value in secrets.items() if value is not None},
    )
    _check(found)
    return found


def _size(config: pulumi.Config, usual: Size) -> Size:
    """Give what an environment has, where its settings ask for more or less than is usual."""
    throughput = config.get_int("maxThroughput")
    return replace(
        usual,
        throughput=throughput if usual.throughput and throughput else usual.throughput,
        plan=config.get("plan") or usual.plan,
        workers=(usual.workers[0], config.get_int("maxWorkers") or usual.workers[1]),
        messaging_units=config.get_int("messagingUnits") or usual.messaging_units,
    )


def _one_of(config: pulumi.Config, key: str, choices: tuple[Choice, ...]) -> Choice:
    value = config.get(key) or choices[0]
    if value not in choices:
        raise ValueError(f"lightning:{key} is {value!r}, but must be one of {', '.join(choices)}")
    return cast("Choice", value)


def _check(found: Parameters) -> None:
    if found.active == "second" and found.second_location is None:
        raise ValueError("lightning:activeRegion is second, but no lightning:secondLocation is set")
    if found.second_location is not None and found.size.throughput is None:
        raise ValueError(
            "a serverless store has one region: leave lightning:secondLocation out of this stack"
        )
    if found.environment == "prod" and found.budget_start is None:
        # a budget must begin in the month in which it is made
        raise ValueError(
            'prod has a budget, which needs a start: pulumi config set budgetStart "$(date +%Y-%m-01)"'
        )
    if found.image is None:
        return  # the first `pulumi up` makes the registry into which images are pushed
    missing = [key for name, key, is_needed in SECRETS if is_needed and name not in found.secrets]
    if found.llm == "openai" and "OPENAI_API_KEY" not in found.secrets:
        missing.append("openaiApiKey")
    if found.chat and CHAT_SECRET not in found.secrets:
        missing.append("chatSecret")
    if missing:
        keys = " ".join(missing)
        raise ValueError(f"the apps need secrets: pulumi config set --secret KEY, for each of {keys}")
    if found.chat and "@" in found.image:
        raise ValueError("lightning:image must be named by its tag: the image of the chat has the same")
    if found.llm == "azure-openai" and found.openai_base_url is None:
        raise ValueError("lightning:llm is azure-openai, so lightning:openaiBaseUrl must be set")
