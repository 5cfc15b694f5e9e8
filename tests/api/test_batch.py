"""A batch of events: each for itself, recorded together, answered in the order sent."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.api.conftest import assert_problem, from_now, serving

MAX_EVENTS = 50
EVENT_BYTES = 256 * 1024
BATCH_BYTES = 1024 * 1024


def said(person, content, **changes):
    return person.event(metadata={"content": content}, **changes)


def items(answer, status):
    assert answer.status_code == status, answer.text[:2000]
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"items"}
    return answer.json()["items"]


def assert_item(item, status, code, pointer):
    """Check that an item is a problem in full (RFC 9457), at its place."""
    assert item["status"] == status, item
    problem = item["problem"]
    assert set(problem) == {"type", "title", "status", "code", "detail", "pointer"}
    assert (problem["status"], problem["code"], problem["pointer"]) == (status, code, pointer)
    assert problem["type"] == f"urn:lightning:problem:{code}"


class TestAccepted:
    def test_every_event_is_recorded_in_the_order_sent(self, person):
        # When as many events are posted as a batch may hold
        answer = person.post([said(person, f"n{number}") for number in range(MAX_EVENTS)])

        # Then each is answered at its place, and has its place in the log in that order
        accepted = items(answer, 202)
        assert all(item["status"] == 202 for item in accepted)
        assert [item["event"]["metadata"]["content"] for item in accepted] == [
            f"n{number}" for number in range(MAX_EVENTS)
        ]
        assert [item["event"]["seq"] for item in accepted] == list(range(1, MAX_EVENTS + 1))

        # And the log has exactly what was answered
        assert person.log() == [item["event"] for item in accepted]

    def test_a_batch_of_one_is_answered_as_a_batch(self, person):
        (item,) = items(person.post([person.event()]), 202)
        assert item["event"] == person.log()[0]

    def test_of_different_types(self, person):
        batch = [person.event(), person.event(type="user.message", metadata={"content": "x"})]
        accepted = items(person.post(batch), 202)
        assert [item["event"]["type"] for item in accepted] == ["llm.chat", "user.message"]


class TestRefused:
    def test_what_is_wrong_with_one_does_not_touch_the_others(self, person):
        # Given a batch whose events have all kinds of mistakes, between two that have none
        wrong = {
            1: (person.event(metadata={}), 422, "invalid_field", "/1/metadata/content"),
            2: (person.event(type="no.such"), 422, "unknown_type", "/2/type"),
            3: (person.event(type="llm.chat.response"), 403, "platform_event", "/3/type"),
            4: (
                person.event(timestamp=from_now(hours=1)),
                422,
                "timestamp_in_future",
                "/4/timestamp",
            ),
            5: (person.event(userID="somebody-else"), 403, "foreign_user", "/5/userID"),
            6: ([person.event()], 422, "invalid_field", "/6"),
            7: ([], 422, "invalid_field", "/7"),
            8: (None, 422, "invalid_field", "/8"),
            9: ("text", 422, "invalid_field", "/9"),
            10: (person.event(**{"a/b": 1}), 422, "invalid_field", "/10/a~1b"),
        }

        # When it is posted
        answer = person.post(
            [said(person, "first"), *(each[0] for each in wrong.values()), said(person, "last")]
        )

        # Then each is told its own, and the two are recorded
        outcome = items(answer, 207)
        for place, (_, status, code, pointer) in wrong.items():
            assert_item(outcome[place], status, code, pointer)
        assert [outcome[0]["event"], outcome[11]["event"]] == person.log()
        assert [shown["seq"] for shown in person.log()] == [1, 2]

    def test_none_is_good(self, person):
        outcome = items(person.post([{}, {}]), 207)
        assert [item["status"] for item in outcome] == [422, 422]
        assert person.log() == []

    @pytest.mark.parametrize("count", [0, MAX_EVENTS + 1, 1000])
    def test_too_few_or_too_many(self, person, count):
        answer = person.post([person.event()] * count)
        assert_problem(answer, 422, "batch_size", pointer="")
        assert person.log() == []

    def test_what_is_no_strict_json_is_refused_as_a_whole(self, person):
        body = json.dumps([person.event(), person.event()]).replace('"tests"', '"tests", "source": "x"', 1)
        assert_problem(person.post_raw(body.encode()), 400, "duplicate_key", pointer="/0/source")
        assert person.log() == []

    def test_two_persons_in_one_batch(self, ingress, person):
        # Given a batch with an event of somebody else's
        other = ingress.person()
        batch = [person.event(), person.event(userID=other.id), person.event()]

        # When it is posted, then only that one is refused
        outcome = items(person.post(batch), 207)
        assert [item["status"] for item in outcome] == [202, 403, 202]
        assert_item(outcome[1], 403, "foreign_user", "/1/userID")
        assert other.log() == []

        # And who may post for others records each in its own log
        operator = ingress.person(role="operator")
        outcome = items(operator.post(batch), 202)
        assert [item["event"]["userID"] for item in outcome] == [person.id, other.id, person.id]
        assert [len(person.log()), len(other.log()), len(operator.log())] == [4, 1, 0]


class TestSize:
    def filler(self, person, size):
        """Make an event of exactly so many bytes."""
        empty = len(json.dumps(said(person, ""), separators=(",", ":")))
        return said(person, "x" * (size - empty))

    def post(self, person, batch):
        return person.post_raw(json.dumps(batch, separators=(",", ":")).encode())

    def test_each_has_the_limit_of_an_event(self, person):
        # Given events of the limit and one beyond it
        batch = [self.filler(person, EVENT_BYTES), self.filler(person, EVENT_BYTES + 1), person.event()]

        # When they are posted, then only the larger is refused
        outcome = items(self.post(person, batch), 207)
        assert [item["status"] for item in outcome] == [202, 413, 202]
        assert_item(outcome[1], 413, "too_large", "/1")

    def test_the_batch_has_a_limit_of_its_own(self, person):
        # Given events that fill a batch to the last byte
        batch = [self.filler(person, EVENT_BYTES - 1024) for _ in range(4)]
        rest = BATCH_BYTES - len(json.dumps(batch, separators=(",", ":"))) - 1
        batch.append(self.filler(person, rest))
        body = json.dumps(batch, separators=(",", ":")).encode()
        assert len(body) == BATCH_BYTES

        # When they are posted with a byte more, then they are refused as a whole
        assert_problem(person.post_raw(body + b" "), 413, "too_large")
        assert_problem(person.post_raw(b" " + body), 413, "too_large")
        assert person.log() == []

        # And without it they are accepted
        items(person.post_raw(body), 202)

    def test_the_larger_limit_is_for_batches_only(self, person):
        body = b" " * 10 + json.dumps(said(person, "x" * EVENT_BYTES)).encode()
        assert_problem(person.post_raw(body), 413, "too_large")


class TestOnce:
    def test_a_repeated_batch_is_the_first_one(self, person):
        # Given a batch posted under a key
        batch = [said(person, f"n{number}") for number in range(3)]
        first = items(person.post(batch, idempotency_key="k"), 202)

        # When it is posted again, then it is answered with the events there are
        assert items(person.post(batch, idempotency_key="k"), 202) == first

        # And what is changed in it or added to it is told apart by its place
        changed = [batch[0], said(person, "other"), batch[2], said(person, "n3")]
        outcome = items(person.post(changed, idempotency_key="k"), 207)
        assert [outcome[0], outcome[2]] == [first[0], first[2]]
        assert_item(outcome[1], 409, "id_taken", "/1")
        assert outcome[3]["event"]["seq"] == 4
        assert len(person.log()) == 4

    def test_the_same_event_twice_under_a_key_is_two(self, person):
        event = person.event()
        one, two = items(person.post([event, event], idempotency_key="k"), 202)
        assert one["event"]["id"] != two["event"]["id"]

    def test_a_key_of_a_batch_is_none_of_a_single_event(self, person):
        event = person.event()
        (item,) = items(person.post([event], idempotency_key="k"), 202)
        assert person.post(event, idempotency_key="k").json()["id"] != item["event"]["id"]

    def test_two_with_one_id(self, person):
        # Given a batch in which one id stands three times, the last time for another event
        event = said(person, "same", id="a")
        batch = [said(person, "before"), event, event, said(person, "other", id="a"), said(person, "behind")]

        # When it is posted
        outcome = items(person.post(batch), 207)

        # Then the same is the same, and the other is a conflict
        assert [item["status"] for item in outcome] == [202, 202, 202, 409, 202]
        assert outcome[1] == outcome[2]
        assert_item(outcome[3], 409, "id_taken", "/3/id")
        assert [shown["metadata"]["content"] for shown in person.log()] == ["before", "same", "behind"]

    @pytest.mark.parametrize("key", ["", "x" * 257])
    def test_bad_keys(self, person, key):
        answer = person.post([person.event()], idempotency_key=key)
        assert_problem(answer, 400, "invalid_idempotency_key")

    def test_the_order_holds_while_batches_with_known_events_race(self, person):
        # Given an event that is known already
        known = said(person, "known", id="known")
        first = person.post(known).json()

        # When batches of the same person race, each with the known one and a repetition in the middle
        def post(batch):
            events = [said(person, f"{batch}-{number}", id=f"{batch}-{number}") for number in range(20)]
            return items(person.post([*events[:10], known, events[3], *events[10:]]), 202)

        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(post, range(6)))

        # Then in each batch the new events have places in the order sent, and the others are what they were
        for outcome in outcomes:
            assert outcome[10]["event"]["seq"] == first["seq"]
            assert outcome[11]["event"] == outcome[3]["event"]
            new = [item["event"]["seq"] for item in outcome[:10] + outcome[12:]]
            assert new == sorted(set(new))

        # And the log has each of them once, without a gap
        assert [shown["seq"] for shown in person.log()] == list(range(1, 1 + 6 * 20 + 1))


class TestFailure:
    @pytest.mark.sqlite_file
    def test_a_store_that_does_not_answer(self, tmp_path):
        with serving(tmp_path / "data") as ingress:
            # Given a store that another program has locked for longer than we wait
            person = ingress.person()
            person.says("before")
            with closing(sqlite3.connect(ingress.data / "log.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")

                # When a batch is posted that needs it, then all of it failed, and can be tried again
                batch = [said(person, "a"), said(person, "b")]
                answer = person.post(batch, idempotency_key="k")
                assert_problem(answer, 503, "store_unavailable")
                assert int(answer.headers["retry-after"]) >= 1

                # And when one of it would be refused anyway, each is told its own
                outcome = items(person.post([*batch, {}], idempotency_key="k"), 207)
                assert [item["status"] for item in outcome] == [503, 503, 422]
                other.execute("ROLLBACK")

            # And what is tried again is recorded once
            items(person.post(batch, idempotency_key="k"), 202)
            items(person.post(batch, idempotency_key="k"), 202)
            assert [shown["seq"] for shown in person.log()] == [1, 2, 3]


class TestMediaType:
    @pytest.mark.parametrize(
        "kind",
        ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"', None],
    )
    def test_json_by_any_of_its_names(self, person, kind):
        headers = {} if kind is None else {"content_type": kind}
        assert person.post(person.event(), **headers).status_code == 202
        assert person.post([person.event()], **headers).status_code == 202

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/problem+json",
            "application/json; charset=utf-16",
            "application/json-seq",
            "application/cloudevents",
            "application/cloudevents+xml",
            "application/cloudevents-batch+avro",
            "json",
            "/",
        ],
    )
    def test_others_are_refused(self, person, kind):
        answer = person.post(person.event(), content_type=kind)
        assert_problem(answer, 415, "unsupported_media_type")
        assert person.log() == []

    def test_two_are_refused(self, ingress, person):
        headers = [
            ("authorization", f"Bearer {person.token}"),
            ("content-type", "application/json"),
            ("content-type", "application/cloudevents+json"),
        ]
        answer = ingress.http.post("/api/events", content=json.dumps(person.event()), headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
