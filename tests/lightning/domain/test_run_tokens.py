"""What a run says is kept without the tokens of runs; other tokens are its own affair."""

import pytest

from lightning.domain.run_tokens import without_tokens
from lightning.domain.tokens import TokenIssuer
from lightning.telemetry.redaction import REDACTED

ISSUER = TokenIssuer("a key of at least 32 bytes, no less")


def test_the_tokens_of_runs_are_taken_out():
    token = ISSUER.issue("run", "anna", claims={"run": "r"})
    said = f'{{"LIGHTNING_RUN_TOKEN": "{token}", "again": "{token}"}}'.encode()
    assert without_tokens(said) == said.replace(token.encode(), REDACTED.encode())


def test_what_is_no_token_of_a_run_stays():
    other = ISSUER.issue("user", "anna")
    for said in (other, "eyJ.eyJ.x", "eyJ!.eyJa.b", "eyJa.eyJb.c", "nothing of the kind"):
        assert without_tokens(said.encode()) == said.encode()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["eyJ", ".eyJ", "eyJa.eyJ"])
def test_what_is_nothing_but_beginnings_of_tokens_holds_nobody_up(unit):
    # Given what would take hours, were each beginning followed to the end of the text
    said = (unit * 2_000_000).encode()
    # Then it is looked through once, and a token behind it is found
    token = ISSUER.issue("run", "anna", claims={"run": "r"}).encode()
    assert without_tokens(said) == said
    assert without_tokens(said + b"\n" + token) == said + b"\n" + REDACTED.encode()


def test_a_token_is_found_behind_whatever_stands_before_it():
    token = ISSUER.issue("run", "anna", claims={"run": "r"})
    for before in ("token", "\\n", "a-b_", "eyJa.b "):
        assert without_tokens((before + token).encode()) == (before + REDACTED).encode()
