"""What a run says is kept without the tokens of runs; other tokens are its own affair."""

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
