"""The keys that the processes of one installation share."""

import base64
import json
import secrets
from pathlib import Path
from typing import overload

from pydantic import SecretStr

from lightning.private_files import write_private
from lightning.settings import Settings, SettingsError, SettingsProblem

FILE = "keys.json"


@overload
def secret(value: SecretStr | None) -> str | None: ...
@overload
def secret(value: SecretStr | None, required: str) -> str: ...
def secret(value: SecretStr | None, required: str | None = None) -> str | None:
    """Give a secret setting in clear.

    Parameters:
      value: The setting.
      required: Its environment name, when the process cannot do without it.

    Raises:
      SettingsError: It is required and not set.
    """
    if value is not None:
        return value.get_secret_value()
    if required is None:
        return None
    raise SettingsError(
        [SettingsProblem(required, "this process needs it; `lightning up` makes one", f"{required}=...")]
    )


def with_keys(settings: Settings) -> Settings:
    """Fill in the keys that are not set from the data directory, where they are made once.

    Parameters:
      settings: The settings of an embedded installation.

    Returns:
      The settings with ``JWT_SIGNING_KEY`` and ``NOTIFY_SECRET``.
    """
    if settings.jwt_signing_key is not None and settings.notify_secret is not None:
        return settings
    keys = _kept(settings.data)
    return settings.model_copy(
        update={
            "jwt_signing_key": settings.jwt_signing_key or SecretStr(keys["JWT_SIGNING_KEY"]),
            "notify_secret": settings.notify_secret or SecretStr(keys["NOTIFY_SECRET"]),
        }
    )


def _kept(data: Path) -> dict[str, str]:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data / FILE
    made = {
        "JWT_SIGNING_KEY": secrets.token_hex(32),
        "NOTIFY_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    if not path.exists():
        write_private(path, json.dumps(made))
    return json.loads(path.read_text())
