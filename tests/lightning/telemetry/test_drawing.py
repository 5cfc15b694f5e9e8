import json
from io import StringIO

import pytest
from rich.console import Console

from lightning.prices import read_prices
from lightning.telemetry import names
from lightning.telemetry.draw import as_json, draw, visible

PRICES = read_prices('{"echo": {"input": 2, "output": 10}}')


def render(spans, *, width=130) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(draw(spans, PRICES))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


#: A call of a model.
ASKED = {
    names.GEN_AI_REQUEST_MODEL: "echo",
    names.GEN_AI_USAGE_INPUT_TOKENS: 1000,
    names.GEN_AI_USAGE_OUTPUT_TOKENS: 50,
}


@pytest.fixture
def trace(make_span):
    """A request, its message and a failed attempt, in no order; then one whose parent is missing."""
    base = 1_700_000_000_000_000_000

    def at(start_ms: float, duration_ms: float) -> dict[str, int]:
        start = base + int(start_ms * 1e6)
        return {"start_ns": start, "end_ns": start + int(duration_ms * 1e6)}

    event = {names.EVENT: "01890a5d-ac96-774b-bcce-b302099a8057"}
    return [
        make_span(
            "process [bold]default[/bold]",
            span_id="3" * 16,
            parent_id="2" * 16,
            status="error",
            status_message="ValueError: \x1b[31mred\x1b[0m\nsecond [link=http://x]line[/link]",
            attributes={**event, names.ATTEMPT: 2, names.ERROR_CODE: "bad_input"},
            links=[{"attributes": {names.LINK_ENQUEUED_TIME: base // 1_000_000 + 5}}],
            **at(20, 60),
        ),
        make_span("lost \x9b2J\u202echild", span_id="5" * 16, parent_id="9" * 16, **at(30, 10)),
        make_span("POST /api/events", span_id="1" * 16, kind="server", process="api:1", **at(0, 10)),
        make_span("send default", span_id="2" * 16, parent_id="1" * 16, process="api:1", **at(2, 1)),
        make_span(
            "chat echo", span_id="4" * 16, parent_id="3" * 16, attributes={**event, **ASKED}, **at(25, 50)
        ),
        make_span("notify", span_id="6" * 16, parent_id="1" * 16, process="api:1", **at(90, 10)),
    ]


SNAPSHOT = r"""
trace aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  6 spans, 100.0 ms, 1 failed, 15.0 ms queued
models: calls 1, tokens 1000 + 50, $0.0025
event 01890a5d-ac96-774b-bcce-b302099a8057
span                                         process   event         queued    ms
POST /api/events                             api:1                           10.0  ██
├─ send default                              api:1                            1.0  █
│  └─ process [bold]default[/bold]  error    worker:7  …099a8057 #2    15.0  60.0   ···████████████
│     └─ chat echo  1000 + 50, $0.0025       worker:7  …099a8057             50.0       ██████████
└─ notify                                    api:1                           10.0                    ██
lost \x9b2J\u202echild  (parent not stored)  worker:7                        10.0        ██
error  process [bold]default[/bold]: bad_input: ValueError: \x1b[31mred\x1b[0m\nsecond [link=http://x]line[/link]
"""


def test_the_drawing(trace):
    assert render(trace) == SNAPSHOT.strip("\n")


def test_markup_and_control_characters_have_no_effect(trace):
    drawing = render(trace)
    assert "[bold]default[/bold]" in drawing
    assert r"\x1b[31mred\x1b[0m\nsecond [link=http://x]line[/link]" in drawing
    assert not set(drawing) & {"\x1b", "\x9b", "\u202e", "\r"}


def test_errors_are_red(trace):
    out = StringIO()
    Console(file=out, width=130, color_system="standard", force_terminal=True).print(draw(trace))
    assert "\x1b[31mprocess [bold]default[/bold]  error\x1b[0m" in out.getvalue()
    assert "\x1b[31merror  process [bold]default[/bold]: bad_input: ValueError" in out.getvalue()


def test_nothing_to_draw():
    assert render([]) == "No spans are stored."


def test_spans_that_name_each_other_as_parents_are_drawn_once(make_span):
    drawing = render(
        [
            make_span("one", span_id="1" * 16, parent_id="2" * 16),
            make_span("two", span_id="2" * 16, parent_id="1" * 16),
            make_span("self", span_id="3" * 16, parent_id="3" * 16),
        ]
    )
    assert [drawing.count(name) for name in ("one", "two", "self")] == [1, 1, 1]


def test_a_long_chain_is_drawn_within_the_screen(make_span):
    chain = [make_span(f"n{n}.", span_id=f"{n + 1:016x}", parent_id=f"{n:016x}") for n in range(500)]
    drawing = render(chain, width=100)
    assert all(f"n{n}." in drawing for n in range(500))


def test_several_traces_each_have_their_heading(make_span):
    drawing = render([make_span(trace_id="b" * 32), make_span(trace_id="c" * 32)])
    assert f"trace {'b' * 32}" in drawing
    assert f"trace {'c' * 32}" in drawing


def test_json_is_for_programs_and_safe_to_print(trace):
    text = as_json(trace)
    assert text.isascii()
    assert "\x1b" not in text
    spans = json.loads(text)
    assert [span["name"] for span in spans[:2]] == ["POST /api/events", "send default"]
    assert spans[2]["attributes"][names.ATTEMPT] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b]0;t\x07", r"\x1b]0;t\x07"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_visible(text, expected):
    assert visible(text) == expected


def test_only_what_the_platform_counted_is_added_up(make_span):
    # Given the call of a run, told by the platform and again by the run, and one of a model without a price
    calls = [
        make_span("chat echo", span_id="1" * 16, attributes={**ASKED, names.USAGE_ESTIMATED: True}),
        make_span("chat echo", span_id="2" * 16, attributes=ASKED, process="run:agent"),
        make_span("chat m", span_id="3" * 16, attributes={**ASKED, names.GEN_AI_RESPONSE_MODEL: "m"}),
        make_span("chat m", span_id="4" * 16, attributes={names.GEN_AI_REQUEST_MODEL: "m"}),
    ]
    drawing = render(calls)
    assert "models: calls 2, tokens ~2000 + 100, $0.0025 without 1 that have no price" in drawing
    # And a program finds the cost beside the span
    assert [span["dollars"] for span in json.loads(as_json(calls, PRICES))] == [0.0025, None, None, None]
