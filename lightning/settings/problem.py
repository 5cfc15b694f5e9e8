"""What is wrong with an environment, in words that help."""

from dataclasses import dataclass

from lightning.errors import LightningError


@dataclass(frozen=True)
class SettingsProblem:
    """One thing that is wrong with the environment.

    Parameters:
      name: The variable.
      message: What is wrong with it, without its value.
      example: An assignment that would do.
    """

    name: str
    message: str
    example: str


class SettingsError(LightningError):
    """The process cannot start with these settings.

    Parameters:
      problems: Everything that is wrong, in the order of the settings.
    """

    code = "invalid_settings"

    def __init__(self, problems: list[SettingsProblem]) -> None:
        lines = [f"  {p.name}: {p.message} (for example {p.example})" for p in problems]
        super().__init__("\n".join(["Lightning cannot start with these settings:", *lines]))
        self.problems = problems
