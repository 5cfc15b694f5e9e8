"""The runner that the settings name."""

from collections.abc import Mapping
from pathlib import Path

from lightning.containers.port import Runner
from lightning.containers.unusable import UnusableRunner
from lightning.crash import CrashPoint, no_crash
from lightning.errors import Permanent
from lightning.settings import Settings


def open_runner(
    settings: Settings, *, mounts: Mapping[str, Path] | None = None, crash: CrashPoint = no_crash
) -> Runner:
    """Open the runner that the settings name; one that cannot work here says so whenever it is asked.

    Parameters:
      settings: The settings.
      mounts: What every run on this machine sees of it, read-only, by where it sees it.
      crash: Told the points at which a test may kill the process.
    """
    # Imported here because one takes the SDK of Azure, and neither is needed where the other is meant.
    if settings.runner == "aci":
        from lightning.containers.aci import open_aci  # noqa: PLC0415

        return open_aci(settings, crash=crash)
    from lightning.containers.sandbox import open_sandbox  # noqa: PLC0415

    try:
        return open_sandbox(settings, mounts=mounts, crash=crash)
    except Permanent as error:
        return UnusableRunner(error)
