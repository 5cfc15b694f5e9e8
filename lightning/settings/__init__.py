"""The settings of every process, read from its environment once and never again.

No other package reads the environment. A setting is one line of a class in ``groups``: the README's table,
the messages about wrong values and the environment of child processes all follow from it.
"""

from lightning.settings.environment import (
    for_child,
    from_environment,
    given,
    misspelt,
    take_on,
    tell_libraries,
    without_settings,
)
from lightning.settings.fields import settings_table
from lightning.settings.problem import SettingsError, SettingsProblem
from lightning.settings.settings import Settings

__all__ = [
    "Settings",
    "SettingsError",
    "SettingsProblem",
    "for_child",
    "from_environment",
    "given",
    "misspelt",
    "settings_table",
    "take_on",
    "tell_libraries",
    "without_settings",
]
