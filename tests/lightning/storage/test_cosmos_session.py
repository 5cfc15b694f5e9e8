"""Session tokens: whoever knows of several asks for the newest of each range."""

import pytest

from lightning.storage.cosmos_session import SessionTokens


def merged(*texts: str) -> str | None:
    tokens = SessionTokens()
    for text in texts:
        tokens.merge(text)
    return tokens.text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["0:-1#5"], "0:-1#5"),
        (["0:-1#5", "0:-1#7", "0:-1#6"], "0:-1#7"),
        (["0:1#5", "2:1#9"], "0:1#5,2:1#9"),
        (["0:1#5,1:1#6", "1:1#8,0:1#4"], "0:1#5,1:1#8"),
        # the examples of the SDK's own merge: the higher version's regions, the highest of each
        (["1:1#57#3=54", "1:2#52#3=51"], "1:2#57#3=54"),
        (["1:1#57#3=54", "1:1#58#3=53"], "1:1#58#3=54"),
        (["1:2#58#3=53#4=9", "1:1#57#3=54#7=2"], "1:2#58#3=54#4=9"),
    ],
)
def test_of_each_range_the_newest_counts(texts, expected):
    assert merged(*texts) == expected


@pytest.mark.parametrize(
    "text",
    ["", ",", "x", "0", "0:", "0:5", "0:1#", "0:1#x", "0:1#5#3", ":1#5", "0:1#5\r\nx-y: 1", "0" * 70_000],
)
def test_what_is_no_token_is_passed_over(text):
    assert merged("0:-1#5", text) == "0:-1#5"
    assert merged(text) is None


def test_nothing_is_known_at_first_and_after_forgetting():
    tokens = SessionTokens()
    assert tokens.text is None
    tokens.merge("0:-1#5")
    tokens.forget()
    assert tokens.text is None
