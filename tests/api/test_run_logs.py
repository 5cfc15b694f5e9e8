"""The log of a run as a stream: as it grows, from any offset on, until it is complete."""

import asyncio

import pytest

from lightning.domain.runs import Runs
from tests.api.conftest import assert_problem, frames
from tests.stores import storage_of

TASK = {"agent": "echo", "network": "none"}


class Growing:
    """A run that goes on, written down as a worker does it."""

    def __init__(self, person):
        self._person = person
        self._event = person.post(person.event(type="worker.task", metadata=TASK)).json()
        self.id = asyncio.run(self._do(lambda runs, run: runs.advance(run, stage="running", begun=True)))

    async def _do(self, act):
        storage = storage_of(self._person.ingress.data)
        try:
            runs = Runs(storage)
            run = await runs.open(self._event)
            await act(runs, run)
            self._person.ingress.catch_up(storage)
            return run.document["id"]
        finally:
            await storage.close()

    def prints(self, text):
        data = text.encode()
        act = lambda runs, run: runs.append(run, data, run.document["log"]["bytes"] + len(data))  # noqa: E731
        asyncio.run(self._do(act))

    def ends(self):
        outcome = {"status": "succeeded", "message": "it ended", "exitCode": 0}
        asyncio.run(self._do(lambda runs, run: runs.conclude(run, outcome)))

    def follow(self, offset=0, **headers):
        return self._person.ingress.http.stream(
            "GET",
            f"/api/runs/{self.id}/logs",
            params={"follow": "true", "offset": offset},
            headers=self._person.headers(**headers),
        )


@pytest.fixture
def run(person):
    return Growing(person)


def test_it_is_streamed_as_it_grows_until_it_is_complete(run):
    # Given a run that has printed something, and somebody who follows it
    run.prints("one\ngrüße\n")
    with run.follow() as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        coming = frames(response)
        first = next(coming)
        assert (first.event, first.id, first.data["text"]) == ("log", "10", "one\ngrüße\n")
        # When it prints more, then that comes
        run.prints("two\n")
        assert next(coming).data == {"text": "two\n", "offset": 10, "next": 14, "complete": False}
        # And when it is over, then so is the stream
        run.prints("three\n")
        run.ends()
        rest = list(coming)
    assert "".join(each.data["text"] for each in rest) == "three\n"
    assert [each.event for each in rest][-1] == "end"
    assert rest[-1].data == {"text": "", "offset": 20, "next": 20, "complete": True}


def test_it_goes_on_where_a_client_was(run):
    run.prints("one\ntwo\n")
    run.ends()
    for headers, offset in (({"last_event_id": "4"}, 0), ({}, 4)):
        with run.follow(offset, **headers) as response:
            told = list(frames(response))
        assert [each.data["text"] for each in told] == ["two\n", ""]


def test_a_run_whose_task_was_cancelled_ends_with_what_was_collected(run, person):
    # Given a run whose task is cancelled, of which nobody has taken over the end yet
    with run.follow() as response:
        person.request("POST", f"/api/events/{run._event['id']}/cancel")
        # When its end is written down, then it comes before the end of the stream
        run.prints("the last line\n")
        run.ends()
        assert [each.data["text"] for each in frames(response)] == ["the last line\n", ""]


def test_it_is_one_of_the_users_streams(run, person):
    most = person.ingress.settings.streams_per_user
    opened = []
    try:
        for _ in range(most):
            stream = person.ingress.http.stream("GET", "/api/stream", headers=person.headers())
            assert stream.__enter__().status_code == 200
            opened.append(stream)
        with run.follow() as response:
            response.read()
            assert_problem(response, 429, "too_many_streams")
    finally:
        for stream in opened:
            stream.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("follow=yes", {}, "invalid_parameter"),
        ("follow=true&offset=-1", {}, "invalid_parameter"),
        ("follow=true", {"last-event-id": "x"}, "invalid_position"),
        ("follow=true&token=x", {}, "token_in_url"),
    ],
)
def test_what_makes_no_sense_is_refused(run, person, query, headers, code):
    answer = person.request("GET", f"/api/runs/{run.id}/logs?{query}", headers=headers)
    assert_problem(answer, 400, code)


def test_nobody_follows_anothers(run, ingress):
    other = ingress.person()
    answer = other.request("GET", f"/api/runs/{run.id}/logs?follow=true")
    assert_problem(answer, 404, "not_found")
