"""The hub: every stream hears that the log has grown; deltas come in order, within bounds, and never late."""

import asyncio

import pytest

from lightning.live import Delta, Hub, RunLines, RunProgress, RunStage
from lightning.live.mailbox import MAX_ANSWERED, MAX_CHARACTERS, MAX_DELTAS
from lightning.live.run_box import MAX_CHARACTERS as MAX_LINES
from lightning.live.run_box import MAX_PIECES, MAX_RUNS


def delta(offset: int, text: str, *, event="e", attempt=1) -> Delta:
    return Delta(event=event, conversationID="c", attempt=attempt, offset=offset, text=text)


def texts(mailbox) -> list[str]:
    return [one.text for one in mailbox.take_live()]


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    assert len(hub) == 0, "somebody still listens"
    assert hub.followed() == []


@pytest.fixture
def mailbox(hub):
    with hub.mailbox("anna", deltas=True) as mailbox:
        mailbox.take_grown()
        yield mailbox


class TestGrowth:
    async def test_a_wake_up_that_comes_early_is_kept(self, hub, mailbox):
        hub.wake("anna")
        assert await asyncio.wait_for(mailbox.wait(60), 1)
        assert mailbox.take_grown()
        assert not mailbox.take_grown()

    async def test_it_is_not_lost_when_deltas_are(self, hub, mailbox):
        # When the log has grown, and then more deltas come than are kept
        hub.wake("anna")
        hub.deliver("anna", [delta(n, "x") for n in range(10 * MAX_DELTAS)])
        # Then the reader still looks at the log
        assert mailbox.take_grown()

    async def test_silence_is_told(self, mailbox):
        assert not await mailbox.wait(0.01)

    async def test_another_user_s_news_wake_nobody(self, hub, mailbox):
        hub.wake("bert")
        hub.deliver("bert", [delta(0, "x")])
        assert not await mailbox.wait(0.01)

    async def test_a_new_stream_looks_at_the_log_first(self, hub):
        with hub.mailbox("anna", deltas=True) as mailbox:
            assert await mailbox.wait(60)
            assert mailbox.take_grown()

    @pytest.mark.parametrize(("position", "wakes"), [(4, True), (5, False), (6, False)])
    async def test_a_poll_wakes_who_is_behind(self, hub, mailbox, position, wakes):
        mailbox.position = position
        hub.reached("anna", 5)
        assert mailbox.take_grown() is wakes


class TestDeltas:
    def test_every_stream_that_wants_them_gets_them(self, hub, mailbox):
        with (
            hub.mailbox("anna", deltas=True) as other,
            hub.mailbox("anna", deltas=False) as without,
        ):
            hub.deliver("anna", [delta(0, "a"), delta(1, "b")])
            assert [texts(each) for each in (mailbox, other, without)] == [["a", "b"], ["a", "b"], []]

    def test_what_came_before_is_not_told_again(self, hub, mailbox):
        hub.deliver("anna", [delta(0, "ab"), delta(0, "ab"), delta(1, "b"), delta(2, "c")])
        assert texts(mailbox) == ["ab", "c"]

    def test_a_later_attempt_voids_the_earlier(self, hub, mailbox):
        # Given an answer under way
        hub.deliver("anna", [delta(0, "ab")])
        # When another worker begins anew, and the first goes on
        hub.deliver("anna", [delta(0, "x", attempt=2), delta(2, "c"), delta(1, "y", attempt=2)])
        # Then what the first says is left out
        assert texts(mailbox) == ["ab", "x", "y"]

    def test_a_gap_is_let_through(self, hub, mailbox):
        hub.deliver("anna", [delta(0, "a"), delta(7, "b"), delta(3, "late")])
        assert texts(mailbox) == ["a", "b"]

    def test_answers_do_not_mix(self, hub, mailbox):
        hub.deliver("anna", [delta(0, "a"), delta(0, "x", event="f"), delta(1, "b")])
        assert texts(mailbox) == ["a", "x", "b"]

    @pytest.mark.parametrize("moment", ["waiting", "coming"])
    def test_none_comes_behind_its_response(self, hub, mailbox, moment):
        if moment == "waiting":
            hub.deliver("anna", [delta(0, "late"), delta(0, "other", event="f")])
        # When the response goes to the reader
        mailbox.answered("e", 1)
        if moment == "coming":
            hub.deliver("anna", [delta(0, "late"), delta(0, "other", event="f")])
        # Then no delta of its event does any more
        assert texts(mailbox) == ["other"]

    async def test_nor_does_it_wake_the_reader(self, hub, mailbox):
        mailbox.answered("e", 1)
        hub.deliver("anna", [delta(0, "late")])
        assert not await mailbox.wait(0.01)

    def test_a_replay_goes_on_behind_the_response_that_told_of_a_failure(self, hub, mailbox):
        # Given an answer that failed at its third attempt
        mailbox.answered("e", 3)
        # When a replay writes anew, and somebody was late
        hub.deliver("anna", [delta(0, "late", attempt=3), delta(0, "anew", attempt=4)])
        # Then the new one is shown, until its own response comes
        assert texts(mailbox) == ["anew"]
        mailbox.answered("e", 4)
        hub.deliver("anna", [delta(4, "late", attempt=4)])
        assert texts(mailbox) == []

    def test_none_comes_behind_a_response_that_does_not_name_its_attempt(self, hub, mailbox):
        mailbox.answered("e", None)
        hub.deliver("anna", [delta(0, "x", attempt=1000)])
        assert texts(mailbox) == []


def lines(offset: int, text: str, *, run="r") -> RunLines:
    return RunLines(run=run, task=f"task of {run}", offset=offset, text=text)


def stage(status: str, *, run="r") -> RunStage:
    return RunStage(run=run, task=f"task of {run}", status=status)


def progress(at: str, message: str, *, run="r") -> RunProgress:
    return RunProgress(run=run, task=f"task of {run}", at=at, message=message, percent=None)


class TestRuns:
    def test_where_a_run_stands_comes_before_what_it_printed(self, hub, mailbox):
        hub.tell("anna", [stage("starting"), lines(0, "a"), stage("running"), lines(1, "b")])
        assert mailbox.take_live() == [stage("running"), lines(0, "a"), lines(1, "b")]
        assert mailbox.take_live() == []

    def test_what_was_shown_is_not_shown_again(self, hub, mailbox):
        # Given lines and progress, which the worker tells again, and progress that came another way before
        hub.tell("anna", [lines(0, "ab"), progress("1", "one"), progress("1", "two")])
        shown = mailbox.take_live()
        hub.tell("anna", [lines(0, "ab"), lines(1, "b"), progress("1", "two"), progress("0", "none")])
        # Then each was shown once, and what is new comes
        assert shown == [lines(0, "ab"), progress("1", "two")]
        assert mailbox.take_live() == []
        hub.tell("anna", [lines(5, "behind a gap"), progress("2", "three")])
        assert mailbox.take_live() == [lines(5, "behind a gap"), progress("2", "three")]

    @pytest.mark.parametrize("moment", ["waiting", "late"])
    def test_nothing_comes_behind_the_result_but_a_replay(self, hub, mailbox, moment):
        # Given what a run shows, before or after its result goes to the reader
        frames = [stage("running"), lines(0, "a"), progress("1", "one")]
        if moment == "waiting":
            hub.tell("anna", [*frames, lines(0, "b", run="other")])
        mailbox.over("task of r")
        if moment == "late":
            hub.tell("anna", [*frames, lines(0, "b", run="other")])
        # Then only what another run shows is left
        assert mailbox.take_live() == [lines(0, "b", run="other")]
        # And when the task is replayed, then its run is shown again
        hub.tell("anna", [stage("starting"), lines(1, "c")])
        assert mailbox.take_live() == [stage("starting"), lines(1, "c")]

    def test_a_slow_reader_holds_so_much_and_the_oldest_give_way(self, hub, mailbox):
        for number in range(MAX_PIECES + 10):
            hub.tell("anna", [lines(number, "x")])
        found = mailbox.take_live()
        assert [each.offset for each in found] == list(range(10, MAX_PIECES + 10))
        piece = "x" * 4096
        for number in range(100):
            hub.tell("anna", [lines(1000 + number * len(piece), piece)])
        assert sum(len(each.text) for each in mailbox.take_live()) == MAX_LINES

    def test_so_many_runs_wait(self, hub, mailbox):
        hub.tell("anna", [stage("running", run=str(number)) for number in range(MAX_RUNS + 5)])
        assert [each.run for each in mailbox.take_live()] == [str(n) for n in range(5, MAX_RUNS + 5)]

    async def test_who_wants_no_live_frames_is_not_woken(self, hub):
        with hub.mailbox("anna", deltas=False) as mailbox:
            mailbox.take_grown()
            hub.tell("anna", [lines(0, "a"), stage("running")])
            assert not await mailbox.wait(0.01)
            assert mailbox.take_live() == []


class TestBounds:
    def test_so_many_wait_and_the_oldest_give_way(self, hub, mailbox):
        hub.deliver("anna", [delta(n, "x") for n in range(MAX_DELTAS + 10)])
        assert mailbox.dropped == 10
        assert [one.offset for one in mailbox.take_live()] == list(range(10, MAX_DELTAS + 10))

    def test_so_much_text_waits(self, hub, mailbox):
        size = MAX_CHARACTERS // 4
        hub.deliver("anna", [delta(n * size, "x" * size) for n in range(9)])
        assert mailbox.dropped == 5
        assert sum(map(len, texts(mailbox))) == MAX_CHARACTERS

    def test_what_was_taken_no_longer_counts(self, hub, mailbox):
        size = MAX_CHARACTERS // 2
        for n in range(9):
            hub.deliver("anna", [delta(n * size, "x" * size)])
            assert len(texts(mailbox)) == 1
        assert mailbox.dropped == 0

    def test_answered_events_are_forgotten_in_time(self, mailbox):
        for n in range(3 * MAX_ANSWERED):
            mailbox.answered(f"e{n}", 1)
        assert len(mailbox._answered) == MAX_ANSWERED
        assert f"e{3 * MAX_ANSWERED - 1}" in mailbox._answered

    def test_answers_under_way_are_bounded(self, hub, mailbox):
        hub.deliver("anna", [delta(0, "x", event=f"e{n}") for n in range(1000)])
        assert len(hub._channels["anna"].answers) < 100


def test_who_stops_listening_is_forgotten(hub):
    # Given readers of all kinds, one of whom fails
    with hub.reader("anna"), hub.mailbox("anna", deltas=True), hub.mailbox("bert", deltas=True):
        assert len(hub) == 3
        assert hub.followed() == ["anna", "bert"]
    with pytest.raises(ZeroDivisionError), hub.mailbox("anna", deltas=True):
        raise ZeroDivisionError
    # Then nothing is left, as the fixture asserts
