"""The environment of this process, which no other module reads or changes."""

import os
from collections.abc import Mapping

from lightning.settings.fields import without_settings_of
from lightning.settings.settings import Settings
from lightning.settings.variables import close_to


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
    return close_to(os.environ)


def without_settings() -> dict[str, str]:
    """Give the environment of a child process that has no settings: this process's own, without them."""
    return without_settings_of(os.environ)


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
