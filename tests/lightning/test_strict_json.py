"""Strict JSON: strangers' bodies are read exactly, or refused with a reason."""

import json
import time

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightning.errors import InvalidRequest
from lightning.strict_json import TooLarge, loads


def refusal(body: bytes, **limits: int) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        loads(body, **limits)
    assert caught.value.message
    return caught.value.code, caught.value.pointer


NOT_JSON = [
    *(b"", b" ", b"{", b"]", b"[1,]", b'{"a":1,}', b"{'a':1}", b"/**/1", b"1 2", b"tru", b"\xc2\xa01"),
    *(b"01", b"+1", b".5", b"1.", b"[NaN]", b"Infinity", b"-Infinity", "\u0661".encode()),
    *(b'"\x00"', b'"\t"', b'"\\x"', b'"\\ud800', b"\xef\xbb\xbf1", b"1\x00"),
]


class TestRefused:
    def test_size(self):
        assert loads(b'"' + b"x" * 262_142 + b'"')
        with pytest.raises(TooLarge) as caught:
            loads(b'"' + b"x" * 262_143 + b'"')
        assert (caught.value.code, caught.value.status) == ("too_large", 413)
        assert refusal(b"[1,2]", max_bytes=4) == ("too_large", None)

    @pytest.mark.parametrize("body", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', '"é"'.encode("latin-1")])
    def test_not_utf8(self, body):
        assert refusal(body) == ("not_utf8", None)

    @pytest.mark.parametrize(
        "body",
        NOT_JSON,
    )
    def test_not_json(self, body):
        assert refusal(body) == ("not_json", None)

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (b'{"a":1,"a":1}', "/a"),
            (b'{"a":[{"b":1},{"c":1,"d":2,"c":3}]}', "/a/1/c"),
            (b'{"a/b":{"~":1,"~":2}}', "/a~1b/~0"),
            (b'{"a":1,"\\u0061":2}', "/a"),
            (b'{"":1,"":2}', "/"),
        ],
    )
    def test_duplicate_keys(self, body, pointer):
        assert refusal(body) == ("duplicate_key", pointer)

    @pytest.mark.parametrize(
        "number",
        ["1e999", "-1e999", "1e309", str(2**64), str(-(2**63) - 1), "9" * 5000, "1" + "0" * 400 + ".0"],
    )
    def test_numbers(self, number):
        assert refusal(f'{{"x":[0,{number}]}}'.encode()) == ("number_out_of_range", "/x/1")
        assert refusal(number.encode()) == ("number_out_of_range", "")

    @pytest.mark.parametrize(
        "text", ["\\u0000", "a\\u0000", "\\ud800", "\\udc00", "\\ud83d\\ud83d", "\\uDC00\\uD83D"]
    )
    def test_text(self, text):
        assert refusal(f'{{"x":["{text}"]}}'.encode()) == ("unstorable_text", "/x/0")
        assert refusal(f'{{"x":{{"{text}":1}}}}'.encode()) == ("unstorable_text", "/x")

    def test_a_pointer_that_would_only_echo_the_body(self):
        key = b'"' + b"k" * 2000 + b'"'
        assert refusal(b"{" + key + b":1," + key + b":2}") == ("duplicate_key", None)

    def test_the_first_trouble_is_named(self):
        assert refusal(b'{"x":"\\u0000","a":1,"a":2}') == ("unstorable_text", "/x")
        assert refusal(b'{"a":1,"a":2,"x":1e999}') == ("duplicate_key", "/a")
        assert refusal(b'[{"a":1,"a":2},') == ("not_json", None)


class TestDepth:
    @pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
    def test_the_limit_is_inclusive(self, opening, closing):
        assert loads(opening * 32 + b"1" + closing * 32)
        assert refusal(opening * 33 + b"1" + closing * 33) == ("too_deep", None)
        assert loads(opening * 3 + b"1" + closing * 3, max_depth=3)

    @pytest.mark.parametrize(
        "body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'[{"a":' * 40_000, b'{"[":' * 50_000]
    )
    def test_no_nesting_exhausts_the_stack(self, body):
        assert refusal(body) == ("too_deep", None)

    def test_brackets_in_text_are_not_nesting(self):
        text = '[{"' * 100 + '\\"' * 99
        assert loads(json.dumps([text, text]).encode()) == [text, text]

    def test_wide_is_not_deep(self):
        assert len(loads(b"[" + b"[]," * 1000 + b"[]]")) == 1001

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 33 + b'"' + b'\\"' * 130_000,
            b"[" * 33 + b'"' + b"\\" * 250_000,
            b'"\\' * 131_000,
            b"[],{}" * 52_000,
            b'"[' * 131_000,
        ],
    )
    def test_the_cost_is_linear(self, body):
        started = time.process_time()
        refusal(body)
        assert time.process_time() - started < 1.0  # milliseconds; quadratic would take minutes


class TestAccepted:
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b" null ", None),
            (b"-0", 0),
            (b"1e-999", 0.0),
            (b"1.7976931348623157e308", 1.7976931348623157e308),
            (b"18446744073709551615", 2**64 - 1),
            (b"-9223372036854775808", -(2**63)),
            (b'"\\ud83d\\ude00"', "😀"),
            (b'"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
            (b'{"a":{"a":{"a":1}}}', {"a": {"a": {"a": 1}}}),
            ('{"é":"\u2028\x7f"}'.encode(), {"é": "\u2028\x7f"}),
        ],
    )
    def test_edges(self, body, value):
        assert loads(body) == value

    def test_numbers_keep_their_type(self):
        value = loads(b"[1,1.0,-1,1e2]")
        assert [type(item) for item in value] == [int, float, int, float]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=25)


@given(VALUES, st.booleans())
def test_whatever_can_be_stored_is_read_back(value, ascii_only):
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode(), max_depth=100) == value


@given(
    st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:\\u0d8c1e-. NaN\0'), max_size=40).map(str.encode)
)
@example(b'{"\\ud800":1}')
def test_what_is_accepted_can_be_stored(body):
    try:
        value = loads(body, max_depth=8)
    except InvalidRequest:
        return
    # orjson is a second opinion: it refuses lone surrogates and integers over 64 bits
    assert orjson.loads(orjson.dumps(value)) == value == json.loads(body)
    assert b"\\u0000" not in orjson.dumps(value).replace(b"\\\\", b"")


@given(st.lists(st.sampled_from("ab"), max_size=4))
def test_keys_are_refused_exactly_when_they_repeat(keys):
    body = ("{" + ",".join(f'"{key}":0' for key in keys) + "}").encode()
    if len(set(keys)) == len(keys):
        assert loads(body) == dict.fromkeys(keys, 0)
    else:
        assert refusal(body)[0] == "duplicate_key"
