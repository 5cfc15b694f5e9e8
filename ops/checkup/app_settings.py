"""Whether the settings are whole: no name is misspelt, and the secrets are there."""

from collections.abc import AsyncIterator
from typing import Final

from lightning.settings import Settings, misspelt
from ops.checkup.check import Check

#: All processes need the same ones, so that on Azure none makes its own.
SECRETS: Final = ("JWT_SIGNING_KEY", "NOTIFY_SECRET", "LIGHTNING_SECRET_KEY")

DEPLOY: Final = "docs/deploy.md, steps 6 and 7"


async def look(settings: Settings) -> AsyncIterator[Check]:
    """Look at this process's environment.

    Parameters:
      settings: What was read from it.
    """
    wrong = misspelt()
    for name, meant in wrong.items():
        remedy = (
            f"rename it to {meant}, or remove it: az webapp config appsettings delete --setting-names {name}"
        )
        yield Check("settings", "failed", f"{name} is no setting; {meant} is", remedy)
    if not wrong:
        yield Check("settings", "ok", "every name is known, and no reference to Key Vault is left")
    attributes = {str(f.validation_alias): name for name, f in Settings.model_fields.items()}
    missing = [name for name in SECRETS if getattr(settings, attributes[name]) is None]
    if missing:
        keys = " and ".join(missing)
        yield Check("secrets", "failed", f"{keys} not set: what needs it does not start, or not work", DEPLOY)
    else:
        yield Check("secrets", "ok", ", ".join(SECRETS))
