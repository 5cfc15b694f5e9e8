"""What a model can be shown: windows, estimates, and what is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.llm import ChatMessage, ToolCall, Usage
from lightning.llm.window import (
    LEAST_FACTOR,
    MOST_FACTOR,
    TOKENS_PER_MESSAGE,
    Estimator,
    Exchange,
    budget,
    calibrated,
    halved,
    window_of,
)

#: Texts with their tokens in the vocabularies cl100k (gpt-3.5, gpt-4) and o200k (gpt-4o and later).
MEASURED = [
    ("Überprüfen Sie bitte die Einstellungen, bevor Sie den Dienst erneut starten. ", 21, 15),
    ("请在重新启动服务之前检查设置。", 14, 10),
    ("サービスを再起動する前に設定を確認してください。", 24, 13),
    ("Событие — это факт в журнале пользователя. ", 17, 11),
]


class TestWindows:
    @pytest.mark.parametrize(
        ("model", "tokens"),
        [
            ("gpt-3.5-turbo", 16_385),
            ("gpt-3.5-turbo-0125", 16_385),
            ("gpt-35-turbo", 16_385),
            ("gpt-4", 8_192),
            ("gpt-4-0613", 8_192),
            ("gpt-4-32k-0613", 32_768),
            ("gpt-4-0125-preview", 128_000),
            ("gpt-4o", 128_000),
            ("gpt-4o-mini-2024-07-18", 128_000),
            ("GPT-4o", 128_000),
            ("ft:gpt-4o-mini-2024-07-18:org::id", 128_000),
            ("openai/gpt-4.1-mini", 1_047_576),
            ("gpt-5-mini", 400_000),
            ("gpt-5-chat-latest", 128_000),
            ("gpt-oss:20b", 131_072),
            ("o1-mini", 128_000),
        ],
    )
    def test_a_model_is_known_by_the_beginning_of_its_name(self, model, tokens):
        assert window_of(model).tokens == tokens

    @pytest.mark.parametrize("model", ["", "llama3:8b", "gpt-45", "gpt-4.9", "o10", "my-gpt-4", "echo"])
    def test_others_have_a_careful_one(self, model):
        assert budget(model) == 8_000

    def test_the_answer_keeps_its_room(self):
        assert budget("gpt-4o") == 128_000 - 16_384

    def test_a_cap_only_lowers(self):
        assert budget("gpt-4o", 5_000) == 5_000
        assert budget("gpt-4", 1_000_000) == budget("gpt-4")


class TestEstimates:
    @pytest.mark.parametrize(("text", "older", "newer"), MEASURED)
    def test_no_script_is_underestimated(self, text, older, newer):
        # so that a conversation in it does not overflow the window at its first try
        estimated = Estimator().message(text) - TOKENS_PER_MESSAGE
        assert max(older, newer) <= estimated <= 5 * min(older, newer)

    @given(st.text(), st.text())
    def test_more_text_is_never_fewer_tokens(self, one, two):
        assert Estimator().message(one) <= Estimator().message(one + two)

    def test_half_a_surrogate_pair_is_measured_too(self):
        assert Estimator().message("\ud800") > TOKENS_PER_MESSAGE


def exchanges(count, tokens_per_character, *, counted=True, reasoning=0):
    """Make exchanges as a server counts them that has exactly so many tokens to a character."""
    found, prompt = [], 0
    for number in range(count):
        question, answer = f"{number:03}" + "q" * 297, f"{number:03}" + "a" * 597
        prompt += round(300 * tokens_per_character) + 4
        said = round(600 * tokens_per_character)
        usage = Usage(prompt, said + reasoning, prompt + said + reasoning) if counted else None
        found.append(Exchange(question, answer, usage))
        prompt += said + 4
    return found


class TestCalibration:
    @pytest.mark.parametrize("ratio", [0.2, 0.25, 1 / 3, 0.5, 0.75])
    def test_it_learns_what_the_server_counts(self, ratio):
        # When a server has counted a few exchanges
        estimator = calibrated(exchanges(4, ratio), 100_000)

        # Then a text of that kind is estimated as it would count it
        assert estimator.message("x" * 3000) == pytest.approx(3000 * ratio, rel=0.05)

    @pytest.mark.parametrize(
        "said",
        [
            [],
            exchanges(5, 0.2, counted=False),
            [Exchange("hi", "ho", Usage(1, 1, 2))],
            [Exchange("q" * 300, "", Usage(10_000, 0, 10_000))],
        ],
    )
    def test_without_evidence_it_stays_careful(self, said):
        assert calibrated(said, 100_000) == Estimator()

    def test_a_prompt_that_lost_its_beginning_is_no_evidence(self):
        # Given exchanges whose prompts had grown to the budget, so that each grew by less than was said
        said = [Exchange("q" * 300, "", Usage(7_500 + 40 * number, 0, 7_500)) for number in range(10)]
        assert calibrated(said, 8_000) == Estimator()

    def test_what_a_model_thought_in_silence_counts_only_within_bounds(self):
        said = exchanges(4, 0.25, reasoning=400)
        assert 0.75 <= calibrated(said, 100_000).factor <= MOST_FACTOR

    usages = st.builds(Usage, *[st.integers(-(10**9), 10**9)] * 3) | st.none()

    @given(
        said=st.lists(st.builds(Exchange, st.text(), st.text(), usages), max_size=5),
        tokens=st.integers(1, 10**6),
    )
    def test_it_never_leaves_its_bounds(self, said, tokens):
        assert LEAST_FACTOR <= calibrated(said, tokens).factor <= MOST_FACTOR


def turn(number, *, tool=False):
    """Give the messages of one turn, with a tool's call and result if so."""
    middle = []
    if tool:
        call = ToolCall(f"call-{number}", "look_up", "{}")
        middle = [
            ChatMessage("assistant", "", tool_calls=(call,)),
            ChatMessage("tool", "result", tool_call_id=call.id),
        ]
    return [ChatMessage("user", f"question {number}"), *middle, ChatMessage("assistant", f"answer {number}")]


class TestHalving:
    def test_the_older_turns_are_left_out(self):
        conversation = [message for number in range(8) for message in turn(number)]
        assert halved(conversation) == conversation[8:]

    def test_what_the_system_says_stays(self):
        system = ChatMessage("system", "be brief")
        assert halved([system, *turn(0), *turn(1)]) == [system, *turn(1)]

    @pytest.mark.parametrize("conversation", [[], [ChatMessage("system", "x")], turn(0), turn(0, tool=True)])
    def test_one_turn_is_not_cut(self, conversation):
        assert halved(conversation) is None

    def test_the_last_turn_stays_however_long_it_is(self):
        last = [ChatMessage("user", "x" * 10_000)]
        assert halved([*turn(0), *turn(1), *last]) == last

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 500)), min_size=1, max_size=12))
    def test_halving_ends_with_the_last_turn_and_cuts_between_turns(self, shape):
        # Given any conversation
        turns = [turn("x" * size, tool=tool) for tool, size in shape]
        shown = [message for each in turns for message in each]

        # When it is halved as long as it can be
        for _ in turns:
            shorter = halved(shown)
            if shorter is None:
                break
            # Then it gets shorter each time, from its beginning on, and begins with a turn
            assert len(shorter) < len(shown)
            assert shown[-len(shorter) :] == shorter
            assert shorter[0].role == "user"
            shown = shorter
        assert shown == turns[-1]
