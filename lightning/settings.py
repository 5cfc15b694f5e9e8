"""The settings of every process, read from its environment once and never again.

No other module reads the environment. A setting is one line of the class below: the README's table,
the messages about wrong values and the environment of child processes all follow from it.
"""

import base64
import binascii
import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from lightning.errors import LightningError
from lightning.prices import Prices, read_prices

#: Shorter keys than the hash of HS256 are refused (RFC 7518 section 3.2).
MIN_KEY_BYTES: Final = 32

#: A shorter life of access tokens is only for tests.
_MIN_TOKEN_SECONDS: Final = 900

#: Shorter ones could be guessed.
MIN_METRICS_TOKEN_CHARS: Final = 16

_PREFIX: Final = "LIGHTNING_"
_REFERENCE: Final = "@Microsoft.KeyVault("
_CLOSE: Final = 0.85  #: how like a setting's a name is that was meant for it, from 0 to 1
_FOR_TESTS: Final = "LIGHTNING_TEST_"
_HTTP_URL: Final[TypeAdapter[HttpUrl]] = TypeAdapter(HttpUrl)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ORIGIN: Final = re.compile(r"https?://[^\s/?#@,]+")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_CONNECTION_KEY: Final = re.compile(r"(?:SharedAccessKey|AccountKey|AccessToken)=([^;]+)", re.IGNORECASE)
_LOOPBACK_URL: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:\d{1,5})?/?")
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SMALL_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUBNET: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
_SUBNET_EXAMPLE: Final = (
    "/subscriptions/.../resourceGroups/.../providers/Microsoft.Network/virtualNetworks/.../subnets/..."
)
_TAG: Final = re.compile(r"[a-z0-9-]{1,63}")


@dataclass(frozen=True)
class SettingsProblem:
    """One thing that is wrong with the environment.

    Parameters:
      name: The variable.
      message: What is wrong with it, without its value.
      example: An assignment that would do.
    """

    name: str
    message: str
    example: str


class SettingsError(LightningError):
    """The process cannot start with these settings.

    Parameters:
      problems: Everything that is wrong, in the order of the settings.
    """

    code = "invalid_settings"

    def __init__(self, problems: list[SettingsProblem]) -> None:
        lines = [f"  {p.name}: {p.message} (for example {p.example})" for p in problems]
        super().__init__("\n".join(["Lightning cannot start with these settings:", *lines]))
        self.problems = problems


def _signing_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value().encode(errors="surrogateescape")) < MIN_KEY_BYTES:
        raise ValueError(f"the key has fewer than {MIN_KEY_BYTES} bytes")
    return key


def _webhook_secret(secret: SecretStr) -> SecretStr:
    kind, _, key = secret.get_secret_value().partition("whsec_")
    try:
        size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if kind or not 24 <= size <= 64:
        raise ValueError("it is not whsec_ and the base64 of 24 to 64 bytes")
    return secret


def _http_url(url: str) -> str:
    try:
        _HTTP_URL.validate_python(url)
    except ValidationError:
        raise ValueError("it is not an http or https URL") from None
    if urlsplit(url).username is not None:
        raise ValueError("it has a user name or a password, which errors that name the address would tell")
    return url


def _public_url(url: str) -> str:
    if not re.fullmatch(rf"{_ORIGIN.pattern}(/[^\s?#]*)?", url):
        raise ValueError("it is not an http or https URL without query and fragment")
    return _http_url(url).rstrip("/")


def _networks(text: str) -> str:
    for network in text.split(","):
        try:
            ipaddress.ip_network(network.strip())
        except ValueError:
            raise ValueError("it is not a list of addresses and networks") from None
    return text


def _waits(text: str) -> str:
    try:
        waits = [float(part) for part in text.split(",")]
    except ValueError:
        waits = []
    if not 1 <= len(waits) <= 50 or not all(0 < wait <= 7 * 24 * 3600 for wait in waits):
        raise ValueError("it is not a list of seconds, separated by commas")
    return text


def _exempt(text: str) -> str:
    if text:
        from lightning.outbound import Guard  # noqa: PLC0415 -- what it stands beside takes long to load

        Guard.allowing(text)
    return text


def _origins(text: str) -> str:
    for origin in text.split(","):
        if not _ORIGIN.fullmatch(origin.strip()):
            raise ValueError("it is not a list of origins, each a scheme and a host, without a path")
    return text


def _prices(text: str) -> str:
    read_prices(text)
    return text


def _host_name(name: str) -> str:
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("it is not a host name alone, without sb:// and path")
    return name


def _servicebus_connection(secret: SecretStr) -> SecretStr:
    names = {part.partition("=")[0].strip().lower() for part in secret.get_secret_value().split(";")}
    if "endpoint" not in names:
        raise ValueError("it has no Endpoint=sb://...")
    if "entitypath" in names:
        raise ValueError("it is that of one queue (EntityPath=...): give the one of the namespace")
    return secret


def _cosmos_connection(secret: SecretStr) -> SecretStr:
    parts = dict(part.strip().split("=", 1) for part in secret.get_secret_value().split(";") if "=" in part)
    if not parts.get("AccountKey") or not _ORIGIN.fullmatch(parts.get("AccountEndpoint", "").rstrip("/")):
        raise ValueError("it is not AccountEndpoint=, an address, and AccountKey=")
    return secret


def _monitor_connection(secret: SecretStr) -> SecretStr:
    parts = dict(part.strip().split("=", 1) for part in secret.get_secret_value().split(";") if "=" in part)
    # the exporter takes small letters only, and would send to a global address where none is named
    if not _SMALL_GUID.fullmatch(parts.get("InstrumentationKey", "")):
        raise ValueError("its InstrumentationKey is not a UUID in small letters")
    if not _ORIGIN.fullmatch(parts.get("IngestionEndpoint", "").rstrip("/")):
        raise ValueError("it has no IngestionEndpoint=https://...")
    return secret


def _metrics_token(secret: SecretStr) -> SecretStr:
    token = secret.get_secret_value()
    if len(token) < MIN_METRICS_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"it has fewer than {MIN_METRICS_TOKEN_CHARS} characters, or some that no header has"
        )
    return secret


def _otlp_headers(secret: SecretStr) -> SecretStr:
    read_headers(secret.get_secret_value())
    return secret


def read_headers(text: str) -> dict[str, str]:
    """Read headers as OpenTelemetry has them in a variable (its specification, "Protocol Exporter").

    Raises:
      ValueError: They are not ``name=value``, separated by commas, with values percent-encoded.
    """
    headers = dict[str, str]()
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, separator, value = (each.strip() for each in part.partition("="))
        value = unquote(value)
        if not separator or not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ValueError("it is not a list of name=value, separated by commas and percent-encoded")
        headers[name.lower()] = value
    return headers


def _container_emulator(secret: SecretStr) -> SecretStr:
    parts = dict(part.split("=", 1) for part in secret.get_secret_value().strip().split(";") if "=" in part)
    if not parts.get("SubscriptionId") or not parts.get("AccessToken"):
        raise ValueError("it is not the line that `lightning emulator arm` prints")
    if not _LOOPBACK_URL.fullmatch(parts.get("Endpoint", "")):
        raise ValueError("its Endpoint is not on this machine")
    return secret


def _matching(pattern: re.Pattern[str], meaning: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"it is not {meaning}")
        return text

    return AfterValidator(check)


ServiceBusConnection = Annotated[SecretStr, AfterValidator(_servicebus_connection)]
CosmosConnection = Annotated[SecretStr, AfterValidator(_cosmos_connection)]
MonitorConnection = Annotated[SecretStr, AfterValidator(_monitor_connection)]
MetricsToken = Annotated[SecretStr, AfterValidator(_metrics_token)]
OtlpHeaders = Annotated[SecretStr, AfterValidator(_otlp_headers)]
ContainerEmulator = Annotated[SecretStr, AfterValidator(_container_emulator)]
Subscription = Annotated[str, _matching(_GUID, "the id of a subscription, with its hyphens")]
Subnet = Annotated[str, _matching(_SUBNET, "the id of a subnet: /subscriptions/.../subnets/...")]
Deployment = Annotated[str, _matching(_TAG, "1 to 63 small letters, digits and hyphens")]
SigningKey = Annotated[SecretStr, AfterValidator(_signing_key)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
Url = Annotated[str, AfterValidator(_http_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
HostName = Annotated[str, AfterValidator(_host_name)]
Networks = Annotated[str, AfterValidator(_networks)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1024)]
Origins = Annotated[str, AfterValidator(_origins)]
Directory = Annotated[Path, AfterValidator(Path.absolute)]


def _setting(name: str, default: Any, meaning: str, *, example: str = "", shown: str | None = None) -> Any:
    """Declare a setting; ``shown`` is the default as the README shows it, where the value does not say it."""
    usual = "" if default is None else f"`{default}`"
    return Field(
        default,
        validation_alias=name,
        description=meaning,
        examples=[example or str(default)],
        json_schema_extra={"shown": usual if shown is None else shown},
    )


class Settings(BaseSettings):
    """What the environment says, checked; build it with ``load``."""

    model_config = SettingsConfigDict(frozen=True, validate_default=True, hide_input_in_errors=True)

    # What the specification requires
    openai_api_key: SecretStr | None = _setting(
        "OPENAI_API_KEY",
        None,
        "Key of the language-model service; on Azure OpenAI an identity does",
        example="sk-...",
    )
    jwt_signing_key: SigningKey | None = _setting(
        "JWT_SIGNING_KEY",
        None,
        "Key that signs access tokens, at least 32 bytes",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )
    servicebus_connection: ServiceBusConnection | None = _setting(
        "SERVICEBUS_CONNECTION",
        None,
        "Azure Service Bus: connection string",
        example="Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...",
    )
    servicebus_namespace: HostName | None = _setting(
        "SERVICEBUS_NAMESPACE",
        None,
        "Azure Service Bus: host name, where an identity signs in instead of a connection string",
        example="lightning.servicebus.windows.net",
    )
    cosmos_connection: CosmosConnection | None = _setting(
        "COSMOS_CONNECTION",
        None,
        "Azure Cosmos DB: connection string; with `COSMOS_ENDPOINT` an identity does",
        example="AccountEndpoint=https://...;AccountKey=...",
    )

    # What the specification leaves to the operator
    openai_model: str = _setting("OPENAI_MODEL", "gpt-3.5-turbo", "Model that answers chats")
    openai_models: str = _setting(
        "OPENAI_MODELS",
        "",
        "Models that a conversation may ask for besides `OPENAI_MODEL`, separated by commas",
        example="gpt-4o,gpt-4o-mini",
        shown="",
    )
    model_prices: Annotated[str, AfterValidator(_prices)] = _setting(
        "LIGHTNING_MODEL_PRICES",
        "",
        "US dollars for a million tokens by model, as JSON, for the dashboard to tell costs besides tokens",
        example='{"gpt-4o-mini": {"input": 0.15, "output": 0.6}}',
        shown="",
    )
    servicebus_queue: str = _setting("SERVICEBUS_QUEUE", "lightning", "Default queue; others append a suffix")
    notify_url: Url | None = _setting(
        "NOTIFY_URL", None, "Webhook that is told of every message", example="https://example.com/notify"
    )
    worker_image: str | None = _setting(
        "WORKER_IMAGE", None, "Container image that runs agents", example="registry.example.com/agents:1"
    )
    aci_resource_group: str | None = _setting(
        "ACI_RESOURCE_GROUP", None, "Azure resource group of the container instances", example="lightning"
    )
    aci_region: str = _setting("ACI_REGION", "centralindia", "Azure region of the container instances")
    aci_subscription: Subscription | None = _setting(
        "ACI_SUBSCRIPTION",
        None,
        "Azure subscription of the container instances",
        example="00000000-0000-0000-0000-000000000000",
    )
    aci_deployment: Deployment = _setting(
        "ACI_DEPLOYMENT",
        "lightning",
        "Word by which this installation tells its container instances from others' in the resource group",
    )
    aci_subnet: Subnet | None = _setting(
        "ACI_SUBNET",
        None,
        "Subnet of runs with network; without it they are in no virtual network",
        example=_SUBNET_EXAMPLE,
    )
    aci_isolated_subnet: Subnet | None = _setting(
        "ACI_ISOLATED_SUBNET",
        None,
        "Subnet of runs without network: its security group lets nothing out but to the ingress",
        example=_SUBNET_EXAMPLE,
    )
    aci_registry_server: str | None = _setting(
        "ACI_REGISTRY_SERVER",
        None,
        "Registry from which images are pulled, where it is not public",
        example="name.azurecr.io",
    )
    aci_registry_username: str | None = _setting(
        "ACI_REGISTRY_USERNAME",
        None,
        "Its token that can pull and do nothing else: the token's name",
        example="pull",
    )
    aci_registry_password: SecretStr | None = _setting(
        "ACI_REGISTRY_PASSWORD", None, "The token's password", example="..."
    )
    aci_emulator: ContainerEmulator | None = _setting(
        "ACI_EMULATOR",
        None,
        "Instead of `ACI_SUBSCRIPTION`: the line that `lightning emulator arm` prints",
        example="Endpoint=http://127.0.0.1:9000;SubscriptionId=...;AccessToken=...",
    )
    cosmos_endpoint: Url | None = _setting(
        "COSMOS_ENDPOINT",
        None,
        "Azure Cosmos DB without `COSMOS_CONNECTION`: the account, which is asked as the managed identity",
        example="https://name.documents.azure.com",
    )
    cosmos_database: str = _setting("COSMOS_DATABASE", "lightning", "Database that holds the containers")
    user_container: str = _setting("USER_CONTAINER", "users", "Container of the accounts")
    repo_container: str = _setting("REPO_CONTAINER", "repos", "Container of the repositories")
    schedule_container: str = _setting("SCHEDULE_CONTAINER", "schedules", "Container of the schedules")
    event_container: str = _setting("EVENT_CONTAINER", "events", "Container of the event log")

    # How this installation is put together
    mode: Literal["embedded", "azure"] = _setting(
        "LIGHTNING_MODE", "embedded", "`embedded`: all on one machine; `azure`: on Azure's services"
    )
    broker: Literal["sqlite", "servicebus"] = _setting(
        "LIGHTNING_BROKER",
        "sqlite",
        "Queue: `sqlite` or `servicebus`",
        shown="`servicebus` on Azure, else `sqlite`",
    )
    storage: Literal["sqlite", "cosmos"] = _setting(
        "LIGHTNING_STORAGE", "sqlite", "Store: `sqlite` or `cosmos`", shown="`cosmos` on Azure, else `sqlite`"
    )
    runner: Literal["sandbox", "aci"] = _setting(
        "LIGHTNING_RUNNER",
        "sandbox",
        "Where agents run: `sandbox` or `aci`",
        shown="`aci` on Azure, else `sandbox`",
    )
    sandbox_images: Directory | None = _setting(
        "LIGHTNING_SANDBOX_IMAGES",
        None,
        "Sandbox: directory of unpacked images, of which `registry/name:tag` is a directory",
        example="/var/lib/lightning/images",
        shown="`images` in the data directory",
    )
    sandbox_network: Literal["full", "none"] = _setting(
        "LIGHTNING_SANDBOX_NETWORK",
        "full",
        "Sandbox: what a run gets that asks for the network: `full`, which needs slirp4netns, or `none`",
    )
    runs: Count = _setting(
        "LIGHTNING_RUNS", 16, "Runs in the sandbox at a time, of one user 3/4 of them; further tasks wait"
    )
    run_calls_per_second: Annotated[int, Field(ge=1, le=10_000)] = _setting(
        "LIGHTNING_RUN_CALLS_PER_SECOND",
        50,
        "Calls that a run may make in a second to the run API of one ingress, or 4 times as many at once",
    )
    budget_tokens: Annotated[int, Field(ge=1)] | None = _setting(
        "LIGHTNING_BUDGET_TOKENS",
        1_000_000,
        "Tokens that a task and all that follows from it may spend at a language model; a task's own budget "
        "can only be less",
    )
    budget_container_seconds: Seconds | None = _setting(
        "LIGHTNING_BUDGET_CONTAINER_SECONDS",
        None,
        "Likewise, seconds that its containers may run, added up",
        example="86400",
        shown="no limit",
    )
    budget_wall_seconds: Seconds | None = _setting(
        "LIGHTNING_BUDGET_WALL_SECONDS",
        None,
        "Likewise, seconds from the task's recording until its containers are stopped",
        example="86400",
        shown="no limit",
    )
    llm: Literal["echo", "openai", "azure-openai"] = _setting(
        "LIGHTNING_LLM",
        "echo",
        "Language model: `echo`, `openai` or `azure-openai`",
        shown="`openai` on Azure or with `OPENAI_API_KEY`, else `echo`",
    )
    openai_base_url: Url | None = _setting(
        "OPENAI_BASE_URL",
        None,
        "Another server that speaks OpenAI's protocol, or the Azure OpenAI endpoint (model: deployment)",
        example="http://127.0.0.1:11434/v1",
    )
    openai_api_version: str = _setting(
        "OPENAI_API_VERSION", "v1", "Azure OpenAI: `v1`, or the date of an older API version"
    )
    azure_client_id: str | None = _setting(
        "AZURE_CLIENT_ID",
        None,
        "User-assigned managed identity of the processes; without it the system-assigned one",
        example="00000000-0000-0000-0000-000000000000",
    )
    identity: Literal["managed", "az"] = _setting(
        "LIGHTNING_IDENTITY",
        "managed",
        "As whom Azure is asked where there is no key: `managed` is the identity of the processes, `az` who "
        "is logged in by `az login`, as on an operator's laptop",
    )
    data: Directory = _setting(
        "LIGHTNING_DATA", Path(".lightning"), "Directory of all local state", shown="`./.lightning`"
    )
    host: str = _setting("LIGHTNING_HOST", "127.0.0.1", "Address that the ingress listens on")
    port: Annotated[int, Field(ge=0, le=65535)] = _setting(
        "PORT", 8000, "Port of the ingress, or of a worker's health; 0 takes a free one"
    )
    registration: Literal["open", "invite", "closed"] = _setting(
        "LIGHTNING_REGISTRATION",
        "open",
        "Who can register over HTTP: `open`: everybody; `invite`: whoever `lightning users invite` invited; "
        "`closed`: nobody",
    )
    public_url: PublicUrl | None = _setting(
        "LIGHTNING_PUBLIC_URL",
        None,
        "Address at which others reach the ingress: runs in Azure find the run API there",
        example="https://lightning.example.com",
    )
    trusted_proxies: Networks | None = _setting(
        "LIGHTNING_TRUSTED_PROXIES",
        None,
        "Addresses or networks, with commas, of the proxies whose `X-Forwarded-For` is believed",
        example="10.0.0.0/8",
    )

    # The chat: a client of the ingress, which may run elsewhere
    chat_api: Url = _setting(
        "LIGHTNING_CHAT_API", "http://127.0.0.1:8000", "Address at which the chat reaches the ingress"
    )
    chat_port: Annotated[int, Field(ge=0, le=65535)] = _setting(
        "LIGHTNING_CHAT_PORT", 8100, "Port of the chat that `lightning up --chat` starts; 0 takes a free one"
    )
    chat_secret: SigningKey | None = _setting(
        "CHAINLIT_AUTH_SECRET",
        None,
        "Key that signs the cookies of the chat, at least 32 bytes",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )

    # Secrets that several processes share
    jwt_signing_key_previous: SigningKey | None = _setting(
        "JWT_SIGNING_KEY_PREVIOUS",
        None,
        "The key before `JWT_SIGNING_KEY`, still accepted while its tokens live",
        example="$(openssl rand -hex 32)",
    )
    notify_secret: WebhookSecret | None = _setting(
        "NOTIFY_SECRET",
        None,
        "Standard Webhooks secret that signs what the messenger posts and `/notify` accepts",
        example="whsec_$(openssl rand -base64 32)",
        shown="embedded: made once and kept in the data directory",
    )
    secret_key: SigningKey | None = _setting(
        "LIGHTNING_SECRET_KEY",
        None,
        "Key that encrypts the credentials of repositories; on Azure a Key Vault reference",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )
    secret_key_previous: SigningKey | None = _setting(
        "LIGHTNING_SECRET_KEY_PREVIOUS",
        None,
        "The key before `LIGHTNING_SECRET_KEY`, which still decrypts",
        example="$(openssl rand -hex 32)",
    )

    # Log-in
    token_seconds: Annotated[int, Field(ge=1, le=3600)] = _setting(
        "LIGHTNING_TOKEN_SECONDS", 3600, "Life of an access token, 15 to 60 minutes"
    )
    refresh_seconds: Annotated[int, Field(ge=3600)] = _setting(
        "LIGHTNING_REFRESH_SECONDS", 30 * 24 * 3600, "A session that is not refreshed for so long has ended"
    )
    session_seconds: Annotated[int, Field(ge=3600)] = _setting(
        "LIGHTNING_SESSION_SECONDS",
        90 * 24 * 3600,
        "A session has ended so long after its log-in, however often it is refreshed",
    )
    registrations: Annotated[int, Field(ge=1)] = _setting(
        "LIGHTNING_REGISTRATIONS", 30, "Accounts that are made over HTTP from one address in an hour"
    )
    login_failures: Annotated[int, Field(ge=1)] = _setting(
        "LIGHTNING_LOGIN_FAILURES", 10, "Wrong passwords in a window, from one address for one account"
    )
    login_account_failures: Annotated[int, Field(ge=1)] = _setting(
        "LIGHTNING_LOGIN_ACCOUNT_FAILURES",
        100,
        "The same for one account, from addresses that it was not logged in to from before",
    )
    login_address_failures: Annotated[int, Field(ge=1)] = _setting(
        "LIGHTNING_LOGIN_ADDRESS_FAILURES", 100, "The same from one address, for any accounts"
    )
    login_window_seconds: Annotated[int, Field(ge=1, le=86400)] = _setting(
        "LIGHTNING_LOGIN_WINDOW", 300, "Seconds from the first wrong password until they are forgotten"
    )

    # Amounts
    workers: Count = _setting("LIGHTNING_WORKERS", 1, "Worker processes")
    threads: Count = _setting(
        "LIGHTNING_THREADS",
        8,
        "Chats that a worker process answers at a time; its pool has more threads, for webhooks and messages",
    )
    chats_per_user: Count | None = _setting(
        "LIGHTNING_CHATS_PER_USER",
        None,
        "Of these, how many may be of one user; more wait, without an attempt",
        example="4",
        shown="three quarters of `LIGHTNING_THREADS`",
    )
    bulk_above: Annotated[int, Field(ge=1, le=1_000_000)] = _setting(
        "LIGHTNING_BULK_ABOVE",
        20,
        "Events that a user may have under way; what comes beyond goes behind everybody else's",
    )
    schedules_per_user: Annotated[int, Field(ge=1, le=1_000_000)] = _setting(
        "LIGHTNING_SCHEDULES_PER_USER",
        1000,
        "Schedules that one user may have; those that have ended are free",
    )
    expire_days: Annotated[int, Field(ge=1, le=10_000)] | None = _setting(
        "LIGHTNING_EXPIRE_DAYS",
        None,
        "Cosmos DB: days after which an event that is over is removed, with its key and what was said in it",
        example="90",
        shown="never",
    )
    max_attempts: Count = _setting("LIGHTNING_MAX_ATTEMPTS", 5, "Attempts before an event is dead")
    claim_seconds: Seconds = _setting(
        "LIGHTNING_CLAIM_SECONDS",
        15.0,
        "Claim of a worker on its event, renewed while it works; a killed worker's events wait so long",
        shown="`15`",
    )
    sweep_seconds: Seconds = _setting(
        "LIGHTNING_SWEEP_SECONDS",
        30.0,
        "First re-send of an event that nobody claimed; doubles to 600",
        shown="`30`",
    )
    lease_seconds: Seconds = _setting(
        "LIGHTNING_LEASE_SECONDS",
        30.0,
        "A message whose worker died is delivered again after so long; renewed while the worker lives; "
        "on Service Bus the queue's lock duration says it",
        shown="`30`",
    )
    retry_seconds: Seconds = _setting(
        "LIGHTNING_RETRY_SECONDS",
        1.0,
        "Wait after the first failed attempt; doubles up to 60",
        shown="`1`",
    )
    drain_seconds: Seconds = _setting(
        "LIGHTNING_DRAIN_SECONDS",
        20.0,
        "A worker that is told to stop finishes what is under way for so long; what is not done then runs "
        "again elsewhere. It needs up to 6 more to end: App Service gives about 30",
        shown="`20`",
    )
    stuck_seconds: Seconds = _setting(
        "LIGHTNING_STUCK_SECONDS",
        10.0,
        "A worker whose event loop stands still for so long, as in an endless loop of a handler, writes to "
        "standard error where it stands, ends, and is started again",
        shown="`10`",
    )
    context_tokens: Annotated[int, Field(ge=256)] | None = _setting(
        "LIGHTNING_CONTEXT_TOKENS",
        None,
        "Most tokens of a conversation that a model is given",
        example="8000",
        shown="the model's window without its answer; `8000` for unknown models",
    )
    model_timeout_seconds: Seconds = _setting(
        "LIGHTNING_MODEL_TIMEOUT", 60.0, "Seconds to wait for a language model", shown="`60`"
    )

    turn_replies: Annotated[int, Field(ge=2, le=100)] = _setting(
        "LIGHTNING_TURN_REPLIES", 12, "Most replies of a language model in one turn that calls tools"
    )
    approval_seconds: Seconds = _setting(
        "LIGHTNING_APPROVAL_SECONDS",
        86_400.0,
        "Seconds after which an approval that nobody has decided is refused",
        shown="24 h",
    )

    # Webhooks
    webhook_timeout_seconds: Seconds = _setting(
        "LIGHTNING_WEBHOOK_TIMEOUT",
        15.0,
        "Seconds in which a webhook's endpoint must have answered",
        shown="`15`",
    )
    webhook_retries: Annotated[str, AfterValidator(_waits)] = _setting(
        "LIGHTNING_WEBHOOK_RETRIES",
        "5,30,120,600,1800,3600,7200,14400,28800,28800",
        "Seconds between the attempts to deliver a webhook",
        shown="5 s to 8 h, over 24 hours",
    )
    webhook_threads: Count = _setting(
        "LIGHTNING_WEBHOOK_THREADS",
        8,
        "Webhooks that one worker process delivers at a time, beside its `LIGHTNING_THREADS`",
    )
    webhook_allow: Annotated[str, AfterValidator(_exempt)] = _setting(
        "LIGHTNING_WEBHOOK_ALLOW",
        "",
        "Hosts and networks, separated by commas, that webhooks may reach though not public, by http too",
        example="hooks.internal,10.1.0.0/16",
        shown="",
    )

    git_allow: Annotated[str, AfterValidator(_exempt)] = _setting(
        "LIGHTNING_GIT_ALLOW",
        "",
        "Hosts and networks, separated by commas, that git may reach though not public, by http too",
        example="git.internal,10.1.0.0/16",
        shown="",
    )

    # Connections that stay open
    allowed_origins: Origins | None = _setting(
        "LIGHTNING_ALLOWED_ORIGINS",
        None,
        "Origins besides the ingress's own whose pages may open streams, separated by commas",
        example="https://app.example.com",
    )
    streams_per_user: Annotated[int, Field(ge=1)] = _setting(
        "LIGHTNING_STREAMS_PER_USER", 20, "Streams that one user may have open at one ingress"
    )
    stream_repair_seconds: Seconds = _setting(
        "LIGHTNING_STREAM_REPAIR_SECONDS",
        15.0,
        "An event whose notification was lost reaches open streams within so long",
        shown="`15`",
    )
    slow_reader_seconds: Seconds = _setting(
        "LIGHTNING_SLOW_READER_SECONDS",
        20.0,
        "A stream whose reader takes nothing for so long is cut off",
        shown="`20`",
    )

    # What people who look inside need
    log: Literal["console", "json"] = _setting(
        "LIGHTNING_LOG", "console", "Form of the log lines: `console` or `json`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "LIGHTNING_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`"
    )
    monitor_connection: MonitorConnection | None = _setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        None,
        "Application Insights, to which traces, logs and metrics are sent besides: connection string",
        example="InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=https://...",
    )
    monitor_identity: Literal["0", "1"] = _setting(
        "LIGHTNING_MONITOR_IDENTITY", "0", "`1`: the managed identity signs in to Application Insights"
    )
    otlp_endpoint: PublicUrl | None = _setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "A collector of OpenTelemetry, to which traces, logs and metrics are sent besides by OTLP over HTTP",
        example="http://127.0.0.1:4318",
    )
    otlp_headers: OtlpHeaders | None = _setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        None,
        "Headers that it asks for, percent-encoded",
        example="authorization=Bearer%20...,x-tenant=1",
    )
    otlp_protocol: Literal["http/protobuf"] = _setting(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "Only `http/protobuf`: there is no gRPC"
    )
    metrics_token: MetricsToken | None = _setting(
        "LIGHTNING_METRICS_TOKEN",
        None,
        "Token for `GET /metrics` of each process, in Prometheus' format, which without it is not there",
        example="$(openssl rand -hex 32)",
    )
    spans: Annotated[int, Field(ge=0, le=10_000_000)] = _setting(
        "LIGHTNING_SPANS",
        200_000,
        "Spans that `spans.db` in the data directory keeps, for `lightning trace`; `0`: none",
    )
    span_days: Annotated[int, Field(ge=1, le=10_000)] = _setting(
        "LIGHTNING_SPAN_DAYS", 30, "Days after which they are removed, if there are not more before"
    )
    span_queue: Annotated[int, Field(ge=1, le=1_000_000)] = _setting(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        8_192,
        "Spans that wait in a process to be written or sent; further ones are lost, and counted",
    )
    testing: Literal["0", "1"] = _setting("LIGHTNING_TESTING", "0", "`1` allows what only tests may do")
    crash_at: str | None = _setting(
        "LIGHTNING_CRASH_AT",
        None,
        "Point at which the process kills itself; only for tests",
        example="after_commit",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but what ``load`` hands over: no process environment, no file."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Check an environment and make it read-only.

        Parameters:
          environ: The variables; an empty one counts as not set.

        Returns:
          The settings, each part of the platform decided.

        Raises:
          SettingsError: It holds every problem at once, and no value of any variable.
        """
        given = {name: environ[name] for name in _fields() if environ.get(name)}
        decided: dict[str, Any] = {
            **_PARTS.get(given.get("LIGHTNING_MODE", ""), {}),
            **_language_model(given),
            **given,
        }
        problems = [*_broken_rules(given, decided), *_unknown(environ), *_not_looked_up(given)]
        try:
            settings = cls(**decided)
        except ValidationError as error:
            problems = [*_wrong_values(error), *problems]
        else:
            if not problems:
                return settings
        raise SettingsError(sorted(problems, key=_position))

    @property
    def models(self) -> list[str]:
        """The models that a conversation may ask for."""
        others = [name.strip() for name in self.openai_models.split(",")]
        return [self.openai_model, *(name for name in others if name and name != self.openai_model)]

    @property
    def prices(self) -> Prices:
        """What the tokens of models cost; empty where the operator has not said it."""
        return read_prices(self.model_prices)

    @property
    def run_api_socket(self) -> Path | None:
        """The unix socket at which runs on this machine find the run API; None where none run."""
        is_here = self.runner == "sandbox" or self.aci_emulator is not None
        return self.data / "run-api.sock" if is_here else None

    def otlp_header_values(self) -> dict[str, str]:
        """Give the headers for the collector of OpenTelemetry, by their names."""
        return {} if self.otlp_headers is None else read_headers(self.otlp_headers.get_secret_value())

    def secret_values(self) -> list[str]:
        """List every secret, and the key within each connection string, for the redactor."""
        secrets = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        keys = [key for secret in secrets for key in _CONNECTION_KEY.findall(secret)]
        keys += self.otlp_header_values().values()
        return [*secrets, *keys, *(s.removeprefix("whsec_") for s in secrets if s.startswith("whsec_"))]

    def to_environ(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """Write the settings as the environment of a child process, which ``load`` reads back alike.

        Parameters:
          inherited: Variables to pass on; those that are settings give way to these.

        Returns:
          Names and values, secrets in clear.
        """
        environ = _without_settings(inherited or {})
        for name, (attribute, _) in _fields().items():
            value = getattr(self, attribute)
            if value is not None:
                environ[name] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        return environ


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


def settings_table() -> str:
    """Write the README's table: one line a setting, in Markdown."""
    rows = [f"| `{name}` | {_shown(field)} | {field.description} |" for name, (_, field) in _fields().items()]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows, ""])


def _fields() -> dict[str, tuple[str, FieldInfo]]:
    return {str(f.validation_alias): (attribute, f) for attribute, f in Settings.model_fields.items()}


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if k not in _fields() and not k.startswith(_PREFIX)}


def _shown(field: FieldInfo) -> str:
    return cast("dict[str, str]", field.json_schema_extra)["shown"]


def _position(problem: SettingsProblem) -> int:
    names = list(_fields())
    return names.index(problem.name) if problem.name in names else len(names)


def _example(name: str) -> str:
    _, field = _fields()[name]
    return f"{name}={(field.examples or [''])[0]}"


def _language_model(given: Mapping[str, str]) -> dict[str, str]:
    return {"LIGHTNING_LLM": "openai"} if "OPENAI_API_KEY" in given or "OPENAI_BASE_URL" in given else {}


def _wrong_values(error: ValidationError) -> Iterator[SettingsProblem]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(detail["loc"][0])
        message = detail["msg"].removeprefix("Value error, ")
        yield SettingsProblem(name, message[0].lower() + message[1:], _example(name))


def _unknown(environ: Mapping[str, str]) -> Iterator[SettingsProblem]:
    words = {name.removeprefix(_PREFIX): name for name in _fields()}
    for name in sorted(environ):
        if name.startswith(_FOR_TESTS):  # names servers that the test suite may use
            continue
        if name.startswith(_PREFIX) and name not in words.values() and environ[name]:
            close = difflib.get_close_matches(name.removeprefix(_PREFIX), words, n=1)
            hint = f"; did you mean {words[close[0]]}?" if close else ""
            example = words[close[0]] if close else "LIGHTNING_DATA"
            yield SettingsProblem(name, f"there is no such setting{hint}", _example(example))


def _not_looked_up(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Refuse a reference that App Service could not follow: whoever can guess it would know the secret."""
    for name, value in given.items():
        if value.startswith(_REFERENCE):
            message = (
                "the reference to Key Vault is not looked up: the secret is not there, or the app's identity "
                "may not read it"
            )
            yield SettingsProblem(name, message, "its role Key Vault Secrets User, then a restart")


def _broken_rules(given: Mapping[str, str], decided: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Check what one variable says against what the others say."""
    azure = given.get("LIGHTNING_MODE") == "azure"
    for part, choice, needed in _NEEDS:
        chosen = decided.get(part) == choice
        places = dict.fromkeys((needed, _INSTEAD.get(needed, needed)))
        found = [name for name in places if name in given]
        if chosen and not found:
            yield SettingsProblem(needed, f"it is required by {_cause(given, part)}", _example(needed))
        elif needed in _CONNECTIONS and found and not azure and not chosen:
            message = f"it connects to Azure, but neither LIGHTNING_MODE=azure nor {part}={choice} is set"
            for name in found:
                yield SettingsProblem(name, message, "LIGHTNING_MODE=azure")
    if "LIGHTNING_EXPIRE_DAYS" in given and decided.get("LIGHTNING_STORAGE", "sqlite") == "sqlite":
        message = "SQLite keeps everything; only Cosmos DB lets events expire"
        yield SettingsProblem("LIGHTNING_EXPIRE_DAYS", message, "LIGHTNING_STORAGE=cosmos")
    if "JWT_SIGNING_KEY_PREVIOUS" in given and "JWT_SIGNING_KEY" not in given:
        message = "there is a key before it, so it must be set too"
        yield SettingsProblem("JWT_SIGNING_KEY", message, _example("JWT_SIGNING_KEY"))
    if "LIGHTNING_CRASH_AT" in given and given.get("LIGHTNING_TESTING") != "1":
        yield SettingsProblem("LIGHTNING_CRASH_AT", "it is only for tests", "LIGHTNING_TESTING=1")
    seconds = given.get("LIGHTNING_TOKEN_SECONDS", "")
    if (
        seconds.isdecimal()
        and 0 < int(seconds) < _MIN_TOKEN_SECONDS
        and given.get("LIGHTNING_TESTING") != "1"
    ):
        message = f"input should be greater than or equal to {_MIN_TOKEN_SECONDS}"
        yield SettingsProblem("LIGHTNING_TOKEN_SECONDS", message, _example("LIGHTNING_TOKEN_SECONDS"))
    yield from _shared_containers(given)
    yield from _registry_in_part(given)


def _registry_in_part(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    missing = [name for name in _REGISTRY if name not in given]
    if len(missing) < len(_REGISTRY):
        for name in missing:
            yield SettingsProblem(name, "it is required by the others of ACI_REGISTRY_*", _example(name))


def _cause(given: Mapping[str, str], part: str) -> str:
    """Name the variable that decided about a part."""
    if part in given:
        return f"{part}={given[part]}"
    return "LIGHTNING_MODE=azure" if given.get("LIGHTNING_MODE") == "azure" else "OPENAI_BASE_URL"


def _shared_containers(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    seen: set[str] = set()
    for name, (_, field) in _fields().items():
        if name.endswith("_CONTAINER"):
            container = given.get(name, str(field.default))
            if container in seen:
                message = "two kinds of documents cannot share one container"
                yield SettingsProblem(name, message, f"{name}=lightning-{container}")
            seen.add(container)


def from_environment(**changes: object) -> Settings:
    """Read the settings of this process from its environment.

    Parameters:
      changes: What a command line says instead, by environment name; None changes nothing.

    Raises:
      SettingsError: It holds every problem at once.
    """
    said = {name: str(value) for name, value in changes.items() if value is not None}
    return Settings.load({**os.environ, **said})


def for_child(settings: Settings) -> dict[str, str]:
    """Give the environment of a child process: this process's own, with these settings."""
    return settings.to_environ(os.environ)


def misspelt() -> dict[str, str]:
    """Give the variables of this process that are no settings but nearly, each with the setting meant."""
    known = list(_fields())
    others = (name for name in os.environ if name not in known)
    close = {name: difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE) for name in others}
    return {name: found[0] for name, found in close.items() if found}


def without_settings() -> dict[str, str]:
    """Give the environment of a child process that has no settings: this process's own, without them."""
    return _without_settings(os.environ)


def given(*names: str) -> dict[str, str]:
    """Give those of these settings that the environment of this process names, as they stand there."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def tell_libraries(variables: Mapping[str, str]) -> None:
    """Set variables of this process that libraries look for in its environment, and nowhere else."""
    os.environ.update(variables)


def take_on(environment: Mapping[str, str]) -> None:
    """Have this process go on in another environment, as one that was copied does."""
    os.environ.clear()
    os.environ.update(environment)
