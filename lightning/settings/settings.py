"""The settings of a process: what its environment says, checked."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from lightning.prices import Prices, read_prices
from lightning.settings.fields import FIELDS, Fields, example_of, without_settings_of
from lightning.settings.problem import SettingsError, SettingsProblem
from lightning.settings.rules import broken_rules, decided_by
from lightning.settings.secrets import keys_within, read_headers
from lightning.settings.variables import not_looked_up, unknown


class Settings(Fields, BaseSettings):
    """What the environment says, checked; build it with ``load``."""

    model_config = SettingsConfigDict(
        frozen=True, validate_default=True, hide_input_in_errors=True, defer_build=False
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
        given = {name: environ[name] for name in FIELDS if environ.get(name)}
        decided: dict[str, Any] = decided_by(given)
        problems = [*broken_rules(given, decided), *unknown(environ), *not_looked_up(given)]
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
        keys = [key for secret in secrets for key in keys_within(secret)]
        keys += self.otlp_header_values().values()
        return [*secrets, *keys, *(s.removeprefix("whsec_") for s in secrets if s.startswith("whsec_"))]

    def to_environ(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """Write the settings as the environment of a child process, which ``load`` reads back alike.

        Parameters:
          inherited: Variables to pass on; those that are settings give way to these.

        Returns:
          Names and values, secrets in clear.
        """
        environ = without_settings_of(inherited or {})
        for name, (attribute, _) in FIELDS.items():
            value = getattr(self, attribute)
            if value is not None:
                environ[name] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        return environ


def _wrong_values(error: ValidationError) -> Iterator[SettingsProblem]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(detail["loc"][0])
        message = detail["msg"].removeprefix("Value error, ")
        yield SettingsProblem(name, message[0].lower() + message[1:], example_of(name))


def _position(problem: SettingsProblem) -> int:
    names = list(FIELDS)
    return names.index(problem.name) if problem.name in names else len(names)
