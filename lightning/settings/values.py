"""The kinds of values that variables have, and what is wrong with one that is not of its kind."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter, ValidationError

from lightning.prices import read_prices

#: Where pages and accounts are: a scheme and a host.
ORIGIN: Final = re.compile(r"https?://[^\s/?#@,]+")

_HTTP_URL: Final[TypeAdapter[HttpUrl]] = TypeAdapter(HttpUrl)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SUBNET: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"[a-z0-9-]{1,63}")


def _http_url(url: str) -> str:
    try:
        _HTTP_URL.validate_python(url)
    except ValidationError:
        raise ValueError("it is not an http or https URL") from None
    if urlsplit(url).username is not None:
        raise ValueError("it has a user name or a password, which errors that name the address would tell")
    return url


def _public_url(url: str) -> str:
    if not re.fullmatch(rf"{ORIGIN.pattern}(/[^\s?#]*)?", url):
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
        if not ORIGIN.fullmatch(origin.strip()):
            raise ValueError("it is not a list of origins, each a scheme and a host, without a path")
    return text


def _prices(text: str) -> str:
    read_prices(text)
    return text


def _host_name(name: str) -> str:
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("it is not a host name alone, without sb:// and path")
    return name


def _matching(pattern: re.Pattern[str], meaning: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"it is not {meaning}")
        return text

    return AfterValidator(check)


Subscription = Annotated[str, _matching(_GUID, "the id of a subscription, with its hyphens")]
Subnet = Annotated[str, _matching(_SUBNET, "the id of a subnet: /subscriptions/.../subnets/...")]
Deployment = Annotated[str, _matching(_TAG, "1 to 63 small letters, digits and hyphens")]
Url = Annotated[str, AfterValidator(_http_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
HostName = Annotated[str, AfterValidator(_host_name)]
Networks = Annotated[str, AfterValidator(_networks)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1024)]
Origins = Annotated[str, AfterValidator(_origins)]
Directory = Annotated[Path, AfterValidator(Path.absolute)]
Waits = Annotated[str, AfterValidator(_waits)]
Exempt = Annotated[str, AfterValidator(_exempt)]
ModelPrices = Annotated[str, AfterValidator(_prices)]
