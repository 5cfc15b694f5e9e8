"""Whatever becomes of the deltas, the pieces after the last restart are the recorded answer."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.client import ClientError, Delta, Restarted, answer_of
from lightning.client.answering import Answering


def shown(pieces) -> str:
    """Show pieces as a person sees them: a restart wipes what was before it."""
    text = ""
    for piece in pieces:
        text = "" if isinstance(piece, Restarted) else text + piece
    return text


def pieces_of(arrived: list[Delta], content: str) -> list:
    answering = Answering("chat")
    return [
        *(piece for delta in arrived for piece in answering.delta(delta)),
        *answering.finish(content),
    ]


@st.composite
def attempts(draw):
    """Draw the deltas of some attempts, any of them lost, repeated or overtaken, and the answer."""
    arrived, content = [], ""
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        content = draw(st.text("abc", max_size=8))
        cuts = sorted(draw(st.sets(st.integers(0, len(content)), max_size=4)) | {0, len(content)})
        arrived += [Delta("chat", attempt, begin, content[begin:end]) for begin, end in pairwise(cuts)]
    if arrived and draw(st.booleans()):
        arrived = draw(st.lists(st.sampled_from(arrived), max_size=12))
    return arrived, content


@given(attempts())
def test_the_pieces_make_up_the_answer_whatever_was_lost(drawn):
    arrived, content = drawn
    assert shown(pieces_of(arrived, content)) == content


def test_pieces_come_as_they_are_written():
    arrived = [Delta("chat", 1, 0, "Hel"), Delta("chat", 1, 3, "lo")]
    assert pieces_of(arrived, "Hello") == ["Hel", "lo"]


def test_repetitions_and_overlaps_add_nothing():
    arrived = [Delta("chat", 1, 0, "Hel"), Delta("chat", 1, 0, "Hel"), Delta("chat", 1, 1, "ello")]
    assert pieces_of(arrived, "Hello") == ["Hel", "lo"]


def test_what_comes_behind_a_gap_waits_for_the_recorded_answer():
    arrived = [Delta("chat", 1, 0, "He"), Delta("chat", 1, 4, "o")]
    assert pieces_of(arrived, "Hello") == ["He", "llo"]


def test_a_later_attempt_voids_the_earlier_one():
    arrived = [Delta("chat", 1, 0, "Wro"), Delta("chat", 2, 0, "Right"), Delta("chat", 1, 3, "ng")]
    kinds = [type(piece) for piece in pieces_of(arrived, "Right")]
    assert kinds == [str, Restarted, str]
    assert shown(pieces_of(arrived, "Right")) == "Right"


def test_an_attempt_that_said_nothing_is_not_spoken_of():
    assert pieces_of([Delta("chat", 3, 0, "Hello")], "Hello") == ["Hello"]


def test_deltas_of_other_answers_are_not_shown():
    assert pieces_of([Delta("another", 1, 0, "Secret")], "Hello") == ["Hello"]


def event(state: str, *outputs: dict, error: dict | None = None) -> dict:
    return {"id": "chat", "state": state, "outputs": list(outputs), "error": error}


@pytest.mark.parametrize(
    ("over", "code"),
    [
        (event("cancelled"), "cancelled"),
        (event("dead", error={"code": "attempts_spent", "message": "no luck"}), "attempts_spent"),
        (
            event(
                "dead",
                {
                    "id": "r",
                    "type": "llm.chat.response",
                    "metadata": {"content": "", "error": {"code": "model_refused", "message": "no"}},
                },
            ),
            "model_refused",
        ),
        (event("done"), "no_answer"),
    ],
)
def test_no_answer_is_an_error_with_its_code(over, code):
    with pytest.raises(ClientError) as raised:
        answer_of(over)
    assert raised.value.code == code
