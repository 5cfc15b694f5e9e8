"""Frames are read the same however their bytes arrive (HTML standard, section 9.2)."""

import asyncio
import json

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.client import ClientError, Delta
from lightning.client.frames import MAX_FRAME_BYTES, Place, read

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
events = st.builds(
    lambda seq, content: {"seq": seq, "type": "user.message", "metadata": {"content": content}},
    st.integers(1, 10**9),
    texts,
)
deltas = st.builds(Delta, texts, st.integers(0, 9), st.integers(0, 10**6), texts)
comments = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
endings = st.sampled_from(["\n", "\r", "\r\n"])


def lines_of(frame: dict | Delta | str, indent: int | None) -> list[str]:
    """Write a frame; a text is a comment. Indented JSON takes several data lines."""
    if isinstance(frame, str):
        return [f":{frame}"]
    if isinstance(frame, Delta):
        data = {name: getattr(frame, name) for name in ("event", "attempt", "offset", "text")}
        head = ["event: delta"]
    else:
        data, head = frame, [f"id: {frame['seq']}", f"event:{frame['type']}"]
    written = json.dumps(data, indent=indent, ensure_ascii=False)
    return head + [f"data: {line}" for line in written.split("\n")]


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self):
        yield from self._pieces

    async def __aiter__(self):
        for piece in self._pieces:
            yield piece


def source(pieces: list[bytes]) -> httpx2.EventSource:
    request = httpx2.Request("GET", "http://127.0.0.1/api/stream")
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    response = httpx2.Response(200, headers=headers, stream=Pieces(pieces), request=request)
    return httpx2.EventSource(response, max_event_size=MAX_FRAME_BYTES)


async def read_async(pieces: list[bytes]) -> list:
    return [read(each) async for each in source(pieces)]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(events | deltas | comments, max_size=6), endings, st.sampled_from([None, 1]))
def test_frames_are_the_same_however_they_arrive(data, frames, ending, indent):
    # Given frames and comments as bytes, and a part of one more that never ends
    written = "".join(ending.join([*lines_of(frame, indent), "", ""]) for frame in frames)
    body = written.encode() + b"id: 1\nevent: user.message\ndata: {"
    # When they arrive in any pieces, split within lines, line ends and characters
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=8)))
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    # Then each frame is read once, whole and in order, blocking or not
    expected = [frame for frame in frames if not isinstance(frame, str)]
    assert [read(each) for each in source(pieces)] == expected
    assert asyncio.run(read_async(pieces)) == expected


@pytest.mark.parametrize("data", ["{", "[]", "1", '{"event": "e"}'])
def test_a_frame_that_cannot_be_read_is_worth_another_connection(data):
    with pytest.raises(ClientError) as raised:
        read(httpx2.ServerSentEvent(event="delta", data=data))
    assert raised.value.temporary


@pytest.mark.parametrize("frame", [("ping", ""), ("from the future", '{"x": 1}'), ("news", "[1]")])
def test_frames_of_other_kinds_are_passed_over(frame):
    assert read(httpx2.ServerSentEvent(*frame)) is None


def test_a_follower_sees_each_event_once_and_in_order():
    place = Place(2)
    arrived = [{"seq": seq} for seq in (1, 2, 3, 3, 4, 2, 5)]
    assert [event["seq"] for event in map(place.passes, arrived) if event] == [3, 4, 5]
    assert place.request().query == {"after": 5, "deltas": 0}
