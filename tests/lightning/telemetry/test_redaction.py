import base64
import json
import re
from functools import partial
from urllib.parse import quote

import orjson
import pytest

from lightning.telemetry.redaction import REDACTED, Redactor


def in_small_letters(secret: str, safe: str = "/") -> str:
    """Quote for a URL, with hexadecimal digits as some libraries write them."""
    return re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=safe))


def json_within_json(secret: str) -> str:
    return json.dumps(json.dumps({"key": secret}))


SPELLINGS = [
    str,
    json.dumps,
    repr,
    quote,
    partial(quote, safe=""),
    in_small_letters,
    partial(in_small_letters, safe=""),
    json_within_json,
    lambda secret: json.dumps(json.dumps(secret, ensure_ascii=False), ensure_ascii=False),
    lambda secret: json.dumps(secret, ensure_ascii=False),
]

AWKWARD = 'pä$s"wo\\rd/with+all\n.*'


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_secret_is_found_however_it_is_quoted(spelled):
    text = Redactor([AWKWARD]).text(f"before {spelled(AWKWARD)} after")
    assert REDACTED in text
    assert "wo" not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("behind", ["", "x", "xy"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_found_in_base64_wherever_it_stood(before, behind, encode):
    encoded = encode(f"{before}{AWKWARD}{behind}".encode()).decode()
    text = Redactor([AWKWARD]).text(f"sent {encoded}")
    assert REDACTED in text
    # no more is left of it than characters that its neighbours decide about, too
    left = len(text) - len("sent ") - len(REDACTED)
    assert len(encoded) - left >= len(AWKWARD.encode()) * 4 // 3 - 7
    assert Redactor([AWKWARD]).suspects(orjson.dumps(f"sent {encoded}"))


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("secret", [AWKWARD, "tab\tbell\x07del\x7f\u2028end", "plain-and-long"])
def test_where_a_secret_is_found_it_was_suspected(spelled, secret):
    # Given a text that holds a secret, and encoded text besides
    redactor = Redactor([secret])
    held = {"a": ["before\n" + spelled(secret)], spelled(secret): 1}
    # Then a glance at its encoded form is enough
    for each in (held, [spelled(secret)], {spelled(secret): None}):
        assert redactor.suspects(orjson.dumps(each))
    assert not redactor.suspects(orjson.dumps({"other": "secrets, which nobody registered"}))


def test_of_two_secrets_that_begin_alike_nothing_is_left():
    assert Redactor(["secret-one", "secret-one-and-two"]).text("x secret-one-and-two x") == f"x {REDACTED} x"


def test_short_values_are_no_secrets():
    assert Redactor(["", "a", "seven77"]).text("a seven77 or so") == "a seven77 or so"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc", "Authorization: Bearer [redacted]"),
        ("'authorization': 'bearer  eyJh.eyJz._-~+/=='", "'authorization': 'bearer  [redacted]'"),
        ("key sk-proj-Ab_12345678 used", "key [redacted] used"),
        ('{"key": "\\nsk-0123456789abcdef"}', '{"key": "\\n[redacted]"}'),
        ("task-0123456789abcdef and disk-0123456789", "task-0123456789abcdef and disk-0123456789"),
        ("the bearer", "the bearer"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [redacted]"),
        ("Basic authentication is off", "Basic authentication is off"),
        ("at /x/eyJhbGci.eyJzdWIi.c2lnbmF0dXJl?", "at /x/[redacted]?"),
        ("a\\neyJhbGci.eyJzdWIi.c2lnbmF0dXJl", "a\\n[redacted]"),
        ("signed by whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk=.", "signed by [redacted]."),
    ],
)
def test_tokens_and_keys_are_masked_without_being_registered(text, expected):
    assert Redactor().text(text) == expected
    assert text == expected or Redactor().suspects(orjson.dumps(text))


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u00a0", "\u2003"])
@pytest.mark.parametrize("before", ["", "\x07", "\n", "é", "-"])
def test_tokens_and_keys_are_suspected_behind_whatever_encoding_changes(before, blank):
    for text in (f"{before}Bearer{blank}abcdef", f"{before}sk-0123456789"):
        assert Redactor().text(text) != text
        assert Redactor().suspects(orjson.dumps(text))


@pytest.mark.timeout(20)
def test_what_is_nothing_but_beginnings_of_tokens_is_looked_through_once():
    text = "eyJ" * 2_000_000  # were each followed to the end, this took hours
    assert Redactor().text(f"{text} {text}.eyJa") == f"{text} {text}.eyJa"


def test_a_token_with_unusual_characters_is_hidden_whole():
    assert Redactor(["token!with$tail"]).text("Bearer token!with$tail.") == f"Bearer {REDACTED}."


class Settings:
    def __repr__(self) -> str:
        return "Settings(key='hunter2hunter2')"


def test_secrets_are_found_wherever_they_are_nested():
    value = {
        "a": ["hunter2hunter2", ("x", {"hunter2hunter2"})],
        "hunter2hunter2": {"b": Settings()},
        "bytes": b"hunter2hunter2",
        "number": 5,
        "none": None,
        "flag": True,
    }
    redacted = Redactor(["hunter2hunter2"]).value(value)
    assert "hunter2hunter2" not in str(redacted)
    assert redacted["a"] == [REDACTED, ["x", [REDACTED]]]
    assert (redacted["number"], redacted["none"], redacted["flag"]) == (5, None, True)


def test_a_value_that_contains_itself_ends():
    value: dict[str, object] = {"key": "hunter2hunter2"}
    value["self"] = value
    assert "hunter2" not in str(Redactor(["hunter2hunter2"]).value(value))
