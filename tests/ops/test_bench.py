"""The benchmarks that follow streams: what they read, and that they measure what they say."""

import resource

import pytest
import typer

from lightning.domain.handover import LONGEST_REST_SECONDS
from ops.bench import scenarios
from ops.bench.hanging import hanging
from ops.bench.pages import PAGES, pages
from ops.bench.plan import Result, spread
from ops.bench.request_units import request_units
from ops.bench.schedule_units import schedule_units
from ops.bench.schedules import schedules
from ops.bench.stream import Stream
from ops.bench.telemetry import check, summary

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMES = (
    b'id: 1\nevent: llm.chat\ndata: {"n":1}\n\n',
    b": heartbeat\n\n",
    b'event: delta\ndata: {"n":2}\n\nevent: delta\ndata: {"n":3}\n\n',
)


def answer(head=HEAD):
    return head + b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in FRAMES)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream_is_read_however_it_is_cut(size):
    # Given a stream
    seen = []
    stream = Stream(lambda name, data: seen.append((name, data)))

    # When its answer comes in pieces of a size
    sent = answer()
    for at in range(0, len(sent), size):
        stream.data_received(sent[at : at + size])

    # Then its frames are told of, once and in order, and its comment is not
    await stream.begun
    assert seen == [(b"llm.chat", b'{"n":1}'), (b"delta", b'{"n":2}'), (b"delta", b'{"n":3}')]


async def test_a_refused_stream_is_a_failure():
    stream = Stream(lambda _name, _data: None)
    stream.data_received(answer(b"HTTP/1.1 429 Too Many Requests\r\n\r\n"))
    with pytest.raises(OSError, match="429"):
        await stream.begun


def test_the_spread_of_times():
    assert spread([n / 1000 for n in range(200, 0, -1)]) == [100, 198, 200]


def test_it_says_when_there_may_not_be_enough_open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        scenarios.allow_descriptors(1)  # there are always enough
        return
    with pytest.raises(typer.BadParameter, match=f"hard limit is {hard}"):
        scenarios.allow_descriptors(hard + 1)


def test_the_first_token_is_asked_for_through_the_platform_and_directly():
    # When a few questions are asked of a platform and of its model
    results = scenarios.first_token(1, 4, users=2, questions=6, warm_up=2)

    # Then each was answered, and what the platform adds is what its answers take beyond the model's
    assert list(results) == ["first token, 1 in flight", "first token, 2 in flight"]
    for result in results.values():
        assert result.events >= 6
        directly, added = (result.beside[each] for each in ("asked directly", "added by the platform"))
        through = (result.p50_ms, result.p99_ms, result.max_ms)
        usual = [each - more for each, more in zip(through, added, strict=True)]
        assert usual == pytest.approx([usual[0]] * 3)
        assert 0 < usual[0] <= directly[-1]
        # And those of the platform are the ones that are in its log: each question, and its answer
        assert result.cost["commits log"] >= 2 * result.events


def test_a_webhook_is_timed_alone_and_beside_endpoints_that_hang():
    # When a few messages are told to an endpoint that works
    alone, beside = hanging(1, 4, messages=4, times=3).values()
    # Then each arrived, alone and beside the others
    assert (alone.events, beside.events) == (3, 3)
    assert beside.figures == {"times of what the longest took alone": beside.max_ms / alone.max_ms}


def test_runs_are_timed_to_their_first_line_and_to_their_end():
    # When tasks are measured, one after another and at once
    results = scenarios.runs(1, 4, at_once=4, alone=2)
    # Then all ended well, in whatever time, and their own processor time is told
    first, many = results.values()
    assert (first.events, many.events) == (2, 4)
    assert first.p50_ms <= first.beside["until the result"][0]
    assert min(each.cost["cpu runs"] for each in (first, many)) > 0


def test_idle_streams_are_held_and_reached():
    # When streams are held open for a moment
    [result] = scenarios.idle_streams(40, seconds=0.2).values()

    # Then every event reached all streams of its user, and the memory is that of a Python process
    assert (result.events, result.figures["streams"]) == (100, 40)
    assert 20 < result.figures["PSS before in MB"] <= result.figures["RSS in MB"] < 300


def test_what_an_accept_costs_in_request_units():
    # When events of different users, and of one user, are accepted on the emulator of Cosmos DB
    apart, together = request_units(whole=False).values()

    # Then each is one read and one write of head and event, and those of one user share the write of head
    assert apart.figures["batch requests"] == 2
    assert 12 < apart.figures["request units"] < 20
    assert together.figures["batch requests"] < 1
    assert together.figures["request units"] < 0.6 * apart.figures["request units"]
    # And nothing is asked besides
    assert {name for name in apart.figures if name.endswith("requests")} == {"batch requests"}


def test_schedules_that_are_not_due_cost_a_look_now_and_then():
    [result] = schedule_units().values()
    # a look asks how to ask, then each of three ranges, and reads nothing, however many are stored
    assert result.figures["query requests"] == 4 * 3600 / LONGEST_REST_SECONDS
    assert 0 < result.figures["request units"] <= 2.3 * result.figures["query requests"]


@pytest.mark.timeout(300)
def test_schedules_that_are_due_fire_once_each():
    # Given a short form of the measurement
    results = schedules(200, 100, spread_seconds=2, idle_seconds=0.5)
    # Then all have fired, once each, and none before its time
    assert [each.events for each in results.values()] == [100, 100]
    assert [each.figures["fired more than once"] for each in results.values()] == [0, 0]
    assert all(each.p50_ms >= 0 for each in results.values())
    assert "% of a core, clock while idle" in results["due within 2 s"].figures


@pytest.mark.timeout(300)
def test_every_list_is_asked_for_with_events_in_the_store():
    # Given a short form of the measurement
    results = pages(5000, times=2)
    # Then each list came, and its first byte was timed
    assert results.keys() == PAGES.keys()
    assert all(
        each.events == 2 and each.figures["p95 of the first byte, ms"] > 0 for each in results.values()
    )


def test_what_telemetry_costs_is_told_by_rate_and_by_processor_time():
    # Given rounds of which one was disturbed, without telemetry and with it
    def rounds(*seconds_and_cpu):
        return [
            Result(1000, seconds, 1, 1, 1, {"cpu ingress": cpu, "cpu worker": 1.0})
            for seconds, cpu in seconds_and_cpu
        ]

    none, kept = rounds((1.0, 0.5), (2.0, 0.6), (9.0, 3.0)), rounds((1.25, 0.8), (8.0, 1.0), (10.0, 4.0))
    # Then what is told are medians, of what was lost in each round beside the platform without
    assert summary(none, none).figures == {"events/s": 500, "ms of ingress": 0.6, "ms of worker": 1.0}
    found = summary(kept, none)
    assert found.per_second == 800
    assert found.figures == pytest.approx(
        {
            "events/s": 125,
            "ms of ingress": 1.0,
            "ms of worker": 1.0,
            "% of the rate lost": 20,
            "% of the rate lost, lower quartile": 15,
            "% of the rate lost, upper quartile": 47.5,
            "% of processor time added": 25,
            "% of processor time added, lower quartile": 22.5,
            "% of processor time added, upper quartile": 25,
        }
    )
    # And of one round there are no quartiles
    assert summary(kept[:1], none[:1]).figures == pytest.approx(
        {
            "events/s": 800,
            "ms of ingress": 0.8,
            "ms of worker": 1.0,
            "% of the rate lost": 20,
            "% of processor time added": 20,
        }
    )
    # And a result without what was still on its way is none
    check("none", kept[0], {"spans.db": 0})
    check("spans.db", kept[0], {"spans.db": 3000})
    with pytest.raises(typer.Exit):
        check("spans.db", kept[0], {"spans.db": 2999})
