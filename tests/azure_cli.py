"""A program `az` that gives the token that a test says, as Azure's own does to who is logged in."""

import json
import os
import time
from pathlib import Path

import pytest


class AzureCli:
    """What stands for the program."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "az.calls"
        self._answer = folder / "az.answer"
        self._refusal = folder / "az.refusal"
        program = folder / "az"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >> "{self._calls}"\n'
            f'if [ -e "{self._refusal}" ]; then cat "{self._refusal}" >&2; exit 1; fi\n'
            f'cat "{self._answer}"\n'
        )
        program.chmod(0o755)

    def answers(self, token: str) -> None:
        answer = {"accessToken": token, "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"}
        self._answer.write_text(json.dumps(answer))

    def fails(self, words: str) -> None:
        self._refusal.write_text(words)

    def asked(self) -> list[str]:
        """For which services a token was wanted."""
        calls = self._calls.read_text().splitlines()
        return [call.partition("--resource ")[2].split()[0] for call in calls]


def give_az(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AzureCli:
    """Put the program before all others."""
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return AzureCli(folder)
