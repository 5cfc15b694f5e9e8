"""What may be wrong with variables each by itself: its name, and what stands for its value."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from lightning.settings.fields import FIELDS, PREFIX, example_of
from lightning.settings.problem import SettingsProblem

_REFERENCE: Final = "@Microsoft.KeyVault("
_CLOSE: Final = 0.85  #: how like a setting's a name is that was meant for it, from 0 to 1
_FOR_TESTS: Final = "LIGHTNING_TEST_"


def unknown(environ: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Refuse names of ours that no setting has: somebody meant one."""
    words = {name.removeprefix(PREFIX): name for name in FIELDS}
    for name in sorted(environ):
        if name.startswith(_FOR_TESTS):  # names servers that the test suite may use
            continue
        if name.startswith(PREFIX) and name not in words.values() and environ[name]:
            close = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1)
            hint = f"; did you mean {words[close[0]]}?" if close else ""
            example = words[close[0]] if close else "LIGHTNING_DATA"
            yield SettingsProblem(name, f"there is no such setting{hint}", example_of(example))


def not_looked_up(given: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Refuse a reference that App Service could not follow: whoever can guess it would know the secret."""
    for name, value in given.items():
        if value.startswith(_REFERENCE):
            message = (
                "the reference to Key Vault is not looked up: the secret is not there, or the app's identity "
                "may not read it"
            )
            yield SettingsProblem(name, message, "its role Key Vault Secrets User, then a restart")


def close_to(names: Iterable[str]) -> dict[str, str]:
    """Give those of these names that are no settings but nearly, each with the setting meant."""
    known = list(FIELDS)
    others = (name for name in names if name not in known)
    close = {name: difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE) for name in others}
    return {name: found[0] for name, found in close.items() if found}
