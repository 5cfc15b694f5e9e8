"""The keys that the processes of one installation share."""

import base64
import json
import secrets
from pathlib import Path
from typing import overload

from pydantic import SecretStr

from lightning.private_files import replace_private, write_private
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
      The settings with ``JWT_SIGNING_KEY``, ``NOTIFY_SECRET``, ``LIGHTNING_SECRET_KEY`` and
      ``CHAINLIT_AUTH_SECRET``.
    """
    given = {
        "jwt_signing_key": ("JWT_SIGNING_KEY", settings.jwt_signing_key),
        "notify_secret": ("NOTIFY_SECRET", settings.notify_secret),
        "secret_key": ("LIGHTNING_SECRET_KEY", settings.secret_key),
        "chat_secret": ("CHAINLIT_AUTH_SECRET", settings.chat_secret),
    }
    missing = {field: name for field, (name, value) in given.items() if value is None}
    if not missing:
        return settings
    keys = _kept(settings.data)
    return settings.model_copy(update={field: SecretStr(keys[name]) for field, name in missing.items()})


def _kept(data: Path) -> dict[str, str]:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data / FILE
    made = {
        "JWT_SIGNING_KEY": secrets.token_hex(32),
        "NOTIFY_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "LIGHTNING_SECRET_KEY": secrets.token_hex(32),
        "CHAINLIT_AUTH_SECRET": secrets.token_hex(32),
    }
    if not path.exists():
        write_private(path, json.dumps(made))
    kept = json.loads(path.read_text())
    if made.keys() - kept.keys():  # an older version knew fewer
        replace_private(path, json.dumps({**made, **kept}))
        kept = json.loads(path.read_text())
    return kept
