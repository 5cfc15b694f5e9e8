"""The kinds of values that nobody may see: keys, tokens, connection strings."""

import base64
import binascii
import re
from typing import Annotated, Final
from urllib.parse import unquote

from pydantic import AfterValidator, SecretStr

from lightning.settings.values import ORIGIN

#: Shorter keys than the hash of HS256 are refused (RFC 7518 section 3.2).
MIN_KEY_BYTES: Final = 32

#: Shorter ones could be guessed.
MIN_METRICS_TOKEN_CHARS: Final = 16

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONNECTION_KEY: Final = re.compile(r"(?:SharedAccessKey|AccountKey|AccessToken)=([^;]+)", re.IGNORECASE)
_LOOPBACK_URL: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:\d{1,5})?/?")
_SMALL_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


def _servicebus_connection(secret: SecretStr) -> SecretStr:
    names = {part.partition("=")[0].strip().lower() for part in secret.get_secret_value().split(";")}
    if "endpoint" not in names:
        raise ValueError("it has no Endpoint=sb://...")
    if "entitypath" in names:
        raise ValueError("it is that of one queue (EntityPath=...): give the one of the namespace")
    return secret


def _cosmos_connection(secret: SecretStr) -> SecretStr:
    parts = dict(part.strip().split("=", 1) for part in secret.get_secret_value().split(";") if "=" in part)
    if not parts.get("AccountKey") or not ORIGIN.fullmatch(parts.get("AccountEndpoint", "").rstrip("/")):
        raise ValueError("it is not AccountEndpoint=, an address, and AccountKey=")
    return secret


def _monitor_connection(secret: SecretStr) -> SecretStr:
    parts = dict(part.strip().split("=", 1) for part in secret.get_secret_value().split(";") if "=" in part)
    # the exporter takes small letters only, and would send to a global address where none is named
    if not _SMALL_GUID.fullmatch(parts.get("InstrumentationKey", "")):
        raise ValueError("its InstrumentationKey is not a UUID in small letters")
    if not ORIGIN.fullmatch(parts.get("IngestionEndpoint", "").rstrip("/")):
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


def keys_within(secret: str) -> list[str]:
    """Give what is secret of a connection string by itself."""
    return _CONNECTION_KEY.findall(secret)


ServiceBusConnection = Annotated[SecretStr, AfterValidator(_servicebus_connection)]
CosmosConnection = Annotated[SecretStr, AfterValidator(_cosmos_connection)]
MonitorConnection = Annotated[SecretStr, AfterValidator(_monitor_connection)]
MetricsToken = Annotated[SecretStr, AfterValidator(_metrics_token)]
OtlpHeaders = Annotated[SecretStr, AfterValidator(_otlp_headers)]
ContainerEmulator = Annotated[SecretStr, AfterValidator(_container_emulator)]
SigningKey = Annotated[SecretStr, AfterValidator(_signing_key)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
