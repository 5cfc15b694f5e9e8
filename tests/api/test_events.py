"""`/api/events`: what is accepted, what is refused, and how a log is read."""

import json
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import assert_problem, from_now, serving

#: The limit of a body, and of the depth of what is in it (DESIGN: events, security).
MAX_BYTES = 256 * 1024
MAX_DEPTH = 32


@pytest.fixture(scope="module")
def writer(ingress):
    """Someone with an event in the log, so that a refusal has something to leave as it is."""
    writer = ingress.person()
    writer.says("was here before")
    return writer


def refused(person, response, status, code=None, *, pointer=None, before):
    problem = assert_problem(response, status, code, pointer=pointer)
    assert person.log() == before, "something was recorded all the same"
    return problem


class TestAccepted:
    def test_an_event_is_recorded_and_shown(self, person):
        # When a person posts an event
        event = person.event(metadata={"content": "Grüße, 世界 🌍", "conversationID": "c1"})
        answer = person.post(event)

        # Then it is accepted under an id, at a place of its own
        assert answer.status_code == 202
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        shown = answer.json()
        assert shown["state"] == "accepted"
        assert shown["seq"] == 1
        assert shown["root"] == shown["id"]
        assert shown["cause"] is None
        assert {name: shown[name] for name in ("source", "type", "userID", "metadata")} == {
            name: event[name] for name in ("source", "type", "userID", "metadata")
        }

        # And it stands at its Location, with no outputs, as no worker runs
        assert answer.headers["location"] == f"/api/events/{shown['id']}"
        found = person.get(answer.headers["location"])
        assert found.status_code == 200
        assert found.json() == {**shown, "outputs": []}

    def test_each_type_that_people_post(self, person):
        for each in ("llm.chat", "user.message"):
            assert person.post(person.event(type=each)).status_code == 202
        assert [event["type"] for event in person.log()] == ["llm.chat", "user.message"]

    @pytest.mark.parametrize(
        ("given_time", "utc"),
        [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456Z"),
            ("1970-01-01T00:00:00-00:00", "1970-01-01T00:00:00Z"),
        ],
    )
    def test_timestamps_of_rfc_3339(self, person, given_time, utc):
        answer = person.post(person.event(timestamp=given_time))
        assert answer.status_code == 202, answer.text
        assert answer.json()["timestamp"] == utc

    def test_a_clock_that_runs_a_little_ahead(self, person):
        assert person.post(person.event(timestamp=from_now(seconds=2))).status_code == 202

    def test_a_body_of_exactly_the_limit(self, person):
        # Given an event that fills the limit to the byte
        frame = len(json.dumps(person.event(metadata={"content": ""})).encode())
        event = person.event(metadata={"content": "x" * (MAX_BYTES - frame)})
        body = json.dumps(event).encode()
        assert len(body) == MAX_BYTES

        # Then it is accepted, and read back whole
        answer = person.post_raw(body)
        assert answer.status_code == 202, answer.text
        assert (
            person.get(answer.headers["location"]).json()["metadata"]["content"]
            == event["metadata"]["content"]
        )

    def test_trusted_roles_post_for_others(self, ingress, person):
        for role in ("service", "operator"):
            trusted = ingress.person(role=role)
            answer = trusted.post(trusted.event(userID=person.id))
            assert answer.status_code == 202
            assert trusted.log() == []
        assert len(person.log()) == 2


NOT_READABLE = {
    "empty": (b"", 400, "not_json"),
    "blank": (b"  \n", 400, "not_json"),
    "not json": (b"timestamp=now", 400, "not_json"),
    "half": (b'{"timestamp": ', 400, "not_json"),
    "two values": (b"{} {}", 400, "not_json"),
    "single quotes": (b"{'a': 1}", 400, "not_json"),
    "comma at the end": (b'{"a": 1,}', 400, "not_json"),
    "NaN": (b'{"metadata": NaN}', 400, "not_json"),
    "Infinity": (b'{"metadata": [-Infinity]}', 400, "not_json"),
    "control character": (b'{"a": "\x01"}', 400, "not_json"),
    "latin-1": ('{"source": "Grüße"}'.encode("latin-1"), 400, "not_utf8"),
    "utf-16": ('{"source": "x"}'.encode("utf-16"), 400, "not_utf8"),
    "too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), 400, "too_deep"),
    "far too deep": (b"[" * 100_000, 400, "too_deep"),
    "too deep in metadata": (
        b'{"metadata": ' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}",
        400,
        "too_deep",
    ),
    "too large": (b'"' + b"x" * (MAX_BYTES - 1) + b'"', 413, "too_large"),
}

NOT_KEPT = {
    "same key twice": (b'{"type": "llm.chat", "type": "llm.chat"}', "duplicate_key", "/type"),
    "same key twice within": (b'{"metadata": {"a": 1, "a": 1}}', "duplicate_key", "/metadata/a"),
    "same key in other letters": (b'{"type": "a", "\\u0074ype": "b"}', "duplicate_key", "/type"),
    "huge integer": (b'{"metadata": {"n": 18446744073709551616}}', "number_out_of_range", "/metadata/n"),
    "endless integer": (b'{"n": ' + b"9" * 100_000 + b"}", "number_out_of_range", "/n"),
    "huge float": (b'{"metadata": [0, 1e400]}', "number_out_of_range", "/metadata/1"),
    "NUL": (b'{"source": "\\u0000"}', "unstorable_text", "/source"),
    "half a surrogate pair": (
        b'{"metadata": {"content": "\\ud800"}}',
        "unstorable_text",
        "/metadata/content",
    ),
}


class TestUnreadable:
    @pytest.mark.parametrize(("body", "status", "code"), NOT_READABLE.values(), ids=NOT_READABLE)
    def test_what_is_no_json_of_ours(self, writer, body, status, code):
        before = writer.log()
        refused(writer, writer.post_raw(body), status, code, before=before)

    @pytest.mark.parametrize(("body", "code", "pointer"), NOT_KEPT.values(), ids=NOT_KEPT)
    def test_what_could_not_be_kept_as_it_is(self, writer, body, code, pointer):
        before = writer.log()
        refused(writer, writer.post_raw(body), 400, code, pointer=pointer, before=before)

    @pytest.mark.parametrize("value", [None, True, 1, 1.5, "text"], ids=repr)
    def test_what_is_no_object(self, writer, value):
        before = writer.log()
        refused(writer, writer.post(value), 422, "invalid_field", pointer="", before=before)

    def test_a_body_in_pieces_that_grows_too_large(self, writer):
        # Given a body whose length nobody announced
        before = writer.log()
        pieces = (b"x" * 1024 for _ in range(MAX_BYTES // 1024 + 1))

        # Then it is refused once it is too large
        answer = writer.request("POST", "/api/events", content=pieces)
        refused(writer, answer, 413, "too_large", before=before)

    def test_a_body_of_another_encoding(self, writer):
        before = writer.log()
        answer = writer.post_raw(b"\x1f\x8b\x08\x00", content_encoding="gzip")
        refused(writer, answer, 400, before=before)


WRONG = {
    "timestamp": {
        "number": 1_769_860_800,
        "no zone": "2026-01-31T12:00:00",
        "date": "2026-01-31",
        "words": "yesterday",
        "empty": "",
        "no such day": "2026-02-30T12:00:00Z",
        "no such hour": "2026-01-31T25:00:00Z",
        "no such zone": "2026-01-31T12:00:00+99:99",
        "null": None,
        "object": {},
    },
    "source": {"number": 1, "null": None, "list": ["tests"], "empty": "", "long": "x" * 257},
    "type": {"number": 1, "null": None, "list": ["llm.chat"], "empty": "", "unknown": "llm.chat.unknown"},
    "userID": {"number": 1, "null": None, "list": [], "empty": "", "boolean": True},
    "metadata": {"number": 1, "null": None, "list": [], "text": "hello"},
    "id": {"number": 1, "empty": "", "list": [], "long": "x" * 257},
}
WRONG_VALUES = [
    pytest.param(field, value, id=f"{field}-{what}")
    for field, values in WRONG.items()
    for what, value in values.items()
]

WRONG_METADATA = {
    "none": ("llm.chat", {}, "/metadata/content"),
    "number": ("llm.chat", {"content": 1}, "/metadata/content"),
    "null": ("llm.chat", {"content": None}, "/metadata/content"),
    "empty": ("llm.chat", {"content": ""}, "/metadata/content"),
    "list": ("llm.chat", {"content": ["hello"]}, "/metadata/content"),
    "conversation": ("llm.chat", {"content": "x", "conversationID": 7}, "/metadata/conversationID"),
    "empty conversation": ("llm.chat", {"content": "x", "conversationID": ""}, "/metadata/conversationID"),
    "extra": ("llm.chat", {"content": "x", "model": "y"}, "/metadata/model"),
    "extra to escape": ("llm.chat", {"content": "x", "a/b~c": 1}, "/metadata/a~1b~0c"),
    "message without": ("user.message", {}, "/metadata/content"),
    "message with another's field": (
        "user.message",
        {"content": "x", "conversationID": "c"},
        "/metadata/conversationID",
    ),
}


class TestInvalid:
    @pytest.mark.parametrize("field", ["timestamp", "source", "type", "userID"])
    def test_a_missing_field(self, writer, field):
        before = writer.log()
        event = writer.event()
        del event[field]
        refused(writer, writer.post(event), 422, "invalid_field", pointer=f"/{field}", before=before)

    def test_metadata_is_as_needed_as_what_is_in_it(self, writer):
        before = writer.log()
        event = writer.event()
        del event["metadata"]
        refused(writer, writer.post(event), 422, pointer="/metadata/content", before=before)

    @pytest.mark.parametrize(("field", "value"), WRONG_VALUES)
    def test_a_wrong_value(self, writer, field, value):
        before = writer.log()
        answer = writer.post(writer.event(**{field: value}))
        refused(writer, answer, 422, pointer=f"/{field}", before=before)

    @pytest.mark.parametrize(("type", "metadata", "pointer"), WRONG_METADATA.values(), ids=WRONG_METADATA)
    def test_wrong_metadata(self, writer, type, metadata, pointer):
        before = writer.log()
        answer = writer.post(writer.event(type=type, metadata=metadata))
        refused(writer, answer, 422, "invalid_field", pointer=pointer, before=before)

    def test_an_unknown_type_is_told_the_known_ones(self, writer):
        before = writer.log()
        answer = writer.post(writer.event(type="llm.caht"))
        problem = refused(writer, answer, 422, "unknown_type", pointer="/type", before=before)
        assert "llm.chat" in problem["detail"]
        assert "user.message" in problem["detail"]

    @pytest.mark.parametrize(
        ("name", "pointer"),
        [("seq", "/seq"), ("state", "/state"), ("", "/"), ("a/b~c", "/a~1b~0c"), ("ü", "/ü")],
    )
    def test_an_extra_field(self, writer, name, pointer):
        before = writer.log()
        answer = writer.post(writer.event(**{name: "accepted"}))
        refused(writer, answer, 422, "invalid_field", pointer=pointer, before=before)

    def test_a_timestamp_without_a_zone_is_told_what_to_add(self, writer):
        problem = assert_problem(
            writer.post(writer.event(timestamp="2026-01-31T12:00:00")), 422, pointer="/timestamp"
        )
        assert "zone" in problem["detail"]

    @pytest.mark.parametrize(
        "moment",
        [lambda: from_now(minutes=10), lambda: from_now(days=3650), lambda: "9999-12-31T23:59:59Z"],
        ids=["soon", "in ten years", "at the end"],
    )
    def test_the_future_belongs_to_the_schedule(self, writer, moment):
        before = writer.log()
        answer = writer.post(writer.event(timestamp=moment()))
        problem = refused(writer, answer, 422, "timestamp_in_future", pointer="/timestamp", before=before)
        assert "/api/schedule" in problem["detail"]

    @pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
    def test_moments_that_are_no_moments_in_utc(self, writer, moment):
        before = writer.log()
        answer = writer.post(writer.event(timestamp=moment))
        refused(writer, answer, 422, pointer="/timestamp", before=before)

    def test_another_persons_log(self, ingress, writer):
        # Given another person with a log
        other = ingress.person()
        other.says("mine")
        before, others = writer.log(), other.log()

        # When someone posts in their name
        answer = writer.post(writer.event(userID=other.id))

        # Then it is forbidden, and stands in neither log
        refused(writer, answer, 403, "foreign_user", pointer="/userID", before=before)
        assert other.log() == others

    def test_a_role_of_no_standing(self, ingress, person):
        stranger = ingress.person(role="administrator")
        answer = stranger.post(stranger.event(userID=person.id))
        assert_problem(answer, 403, "foreign_user", pointer="/userID")
        assert person.log() == []

    @pytest.mark.parametrize("role", ["user", "service", "operator"])
    def test_what_only_the_platform_says(self, ingress, role):
        person = ingress.person(role=role)
        metadata = {"content": "x", "conversationID": "c", "model": "m", "finishReason": "stop"}
        answer = person.post(person.event(type="llm.chat.response", metadata=metadata))
        refused(person, answer, 403, "platform_event", pointer="/type", before=[])


class TestOnce:
    def test_the_same_key_and_body_are_the_first_event(self, person):
        # Given an event posted under a key
        event = person.event()
        first = person.post(event, idempotency_key="order-1")

        # When it is posted again, its fields in another order
        again = person.post(dict(reversed(event.items())), idempotency_key="order-1")

        # Then it is the first one that answers
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        assert len(person.log()) == 1

    def test_the_same_key_with_another_body_is_a_conflict(self, person):
        event = person.event()
        person.post(event, idempotency_key="order-1")
        before = person.log()
        answer = person.post({**event, "metadata": {"content": "another"}}, idempotency_key="order-1")
        assert answer.status_code == 409
        assert answer.json()["code"] == "id_taken"
        assert person.log() == before

    def test_a_given_id_is_a_key_too(self, person):
        # Given an event with an id of the client's
        event = person.event(id="order-1")
        first = person.post(event)
        assert first.status_code == 202

        # Then it is the same event again, and no other
        assert person.post(event).json() == first.json()
        answer = person.post({**event, "source": "another"})
        assert_problem(answer, 409, "id_taken", pointer="/id")
        assert len(person.log()) == 1

    def test_a_key_belongs_to_its_person(self, ingress):
        one, two = ingress.person(), ingress.person()
        first, second = one.says("x", idempotency_key="order-1"), two.says("x", idempotency_key="order-1")
        assert first["id"] != second["id"]

    def test_keys_are_told_apart_and_events_without_one_are_never_the_same(self, person):
        event = person.event()
        answers = [
            person.post(event),
            person.post(event),
            person.post(event, idempotency_key="a"),
            person.post(event, idempotency_key="A"),
            person.post(event, idempotency_key="x" * 256),
        ]
        assert len({answer.json()["id"] for answer in answers}) == len(answers)

    @pytest.mark.parametrize("key", ["", "x" * 257], ids=["empty", "long"])
    def test_bad_keys(self, writer, key):
        before = writer.log()
        answer = writer.post(writer.event(), idempotency_key=key)
        refused(writer, answer, 400, "invalid_idempotency_key", before=before)

    def test_a_key_cannot_name_a_document_of_the_platform(self, person):
        person.says("first")
        assert person.says("second", idempotency_key="head")["id"] != "head"
        assert len(person.log()) == 2

    def test_many_at_once_are_one(self, person):
        # When one event is posted many times at the same time
        event = person.event()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: person.post(event, idempotency_key="race"), range(24)))

        # Then all are answered with the one event
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(person.log()) == 1

    def test_two_bodies_that_race_for_a_key_have_one_winner(self, person):
        bodies = [person.event(metadata={"content": str(number)}) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda body: person.post(body, idempotency_key="race"), bodies))
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
        assert len(person.log()) == 1

    def test_many_different_ones_at_once_have_places_of_their_own(self, person):
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(person.says, map(str, range(40))))
        assert sorted(event["seq"] for event in said) == list(range(1, 41))
        assert [event["seq"] for event in person.log()] == list(range(1, 41))


class TestOne:
    @pytest.mark.parametrize(
        "id", ["head", "0", "%00", "%F0%9F%92%A5", "%ff", "a" * 2000, "..%2fhead", "'--"]
    )
    def test_an_unknown_id(self, writer, id):
        assert_problem(writer.get(f"/api/events/{id}"), 404, "not_found")

    def test_another_persons_event_is_unknown(self, ingress, writer):
        # Given an event, and an id that nothing has
        event = ingress.person().says("mine")

        # Then somebody else cannot tell the two apart
        theirs = writer.get(f"/api/events/{event['id']}")
        nobodys = writer.get("/api/events/0190f9d2-0000-7000-8000-000000000000")
        assert_problem(theirs, 404, "not_found")
        assert theirs.content == nobodys.content

    @pytest.mark.parametrize("wait", ["-1", "x", "1.5", "61", "", "9" * 30, "\u0661"])
    def test_bad_waits(self, writer, wait):
        event = writer.log()[0]
        assert_problem(writer.get(f"/api/events/{event['id']}", wait=wait), 400, "invalid_parameter")

    def test_a_wait_ends_by_itself(self, writer):
        # Given an event that nobody works on
        event = writer.log()[0]

        # When its end is waited for
        begin = time.monotonic()
        answer = writer.get(f"/api/events/{event['id']}", wait=1)

        # Then the answer comes when the wait is over
        assert answer.status_code == 200
        assert answer.json()["state"] == "accepted"
        assert 0.9 < time.monotonic() - begin < 5


@pytest.fixture(scope="module")
def reader(ingress):
    """Someone with seven events, of two types and two conversations."""
    reader = ingress.person()
    for number in range(7):
        if number % 3 == 2:
            event = reader.event(type="user.message", metadata={"content": str(number)})
        else:
            conversation = "even" if number % 2 == 0 else "odd"
            event = reader.event(metadata={"content": str(number), "conversationID": conversation})
        assert reader.post(event).status_code == 202
    return reader


class TestList:
    def contents(self, answer):
        assert answer.status_code == 200, answer.text
        return [event["metadata"]["content"] for event in answer.json()["events"]]

    def test_a_new_log_is_empty(self, person):
        assert person.get("/api/events").json() == {"events": [], "next": None}

    def test_a_page_of_large_events_is_bounded(self, person):
        # Given more than is read at a time
        for number in range(20):
            person.says(f"{number} " + "x" * 250_000)
        # When all of it is asked for at once, and what is left after that
        first = person.get("/api/events", limit=200)
        rest = person.get("/api/events", limit=200, after=first.json()["next"])
        # Then it comes in pages of about 4 MiB, and nothing is left out
        assert len(first.content) < 5 * 1024 * 1024
        assert rest.json()["next"] is None
        seqs = [event["seq"] for answer in (first, rest) for event in answer.json()["events"]]
        assert seqs == list(range(1, 21))

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 200])
    def test_pages_hold_everything_once_in_order(self, reader, limit):
        # When the log is read page by page
        places, after, pages = [], 0, 0
        while after is not None:
            page = reader.get("/api/events", limit=limit, after=after).json()
            assert len(page["events"]) <= limit
            places += [event["seq"] for event in page["events"]]
            after, pages = page["next"], pages + 1

        # Then every event comes once, in the order of the log, and no page is for nothing
        assert places == [1, 2, 3, 4, 5, 6, 7]
        assert pages == -(-7 // limit)

    def test_what_is_behind_the_end(self, reader):
        assert reader.get("/api/events", after=7).json() == {"events": [], "next": None}
        assert reader.get("/api/events", after=2**53).json() == {"events": [], "next": None}

    def test_filters(self, reader):
        roots = [event["id"] for event in reader.get("/api/events").json()["events"]]
        for parameters, expected in [
            ({"type": "user.message"}, ["2", "5"]),
            ({"type": "llm.chat"}, ["0", "1", "3", "4", "6"]),
            ({"conversationID": "even"}, ["0", "4", "6"]),
            ({"conversationID": "odd", "type": "llm.chat", "after": 2}, ["3"]),
            ({"state": "accepted", "limit": 200}, list("0123456")),
            ({"state": "dead"}, []),
            ({"root": roots[3]}, ["3"]),
            ({"conversationID": "no such"}, []),
            ({"conversationID": "' OR 1=1 --"}, []),
            ({"conversationID": "\0"}, []),
        ]:
            assert self.contents(reader.get("/api/events", **parameters)) == expected, parameters

    def test_pages_of_what_is_filtered(self, reader):
        page = reader.get("/api/events", conversationID="even", limit=2)
        assert self.contents(page) == ["0", "4"]
        page = reader.get("/api/events", conversationID="even", limit=2, after=page.json()["next"])
        assert self.contents(page) == ["6"]
        assert page.json()["next"] is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit", "0"),
            ("limit", "201"),
            ("limit", "-1"),
            ("limit", "ten"),
            ("limit", ""),
            ("limit", "1.0"),
            ("limit", "9" * 400),
            ("limit", "\u0663"),
            ("after", "-1"),
            ("after", "x"),
            ("after", ""),
            ("after", str(2**53 + 1)),
            ("after", str(2**64)),
            ("after", "9" * 400),
            ("after", "1e3"),
            ("after", "\u00b2"),
        ],
    )
    def test_bad_parameters(self, reader, name, value):
        problem = assert_problem(reader.get("/api/events", **{name: value}), 400, "invalid_parameter")
        assert name in problem["detail"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("id", "timestamp", "source", "type", "userID", "metadata")
ODD_TEXT = st.sampled_from(
    ["", "llm.chat", "user.message", "llm.chat.response", "head", "9999-12-31T23:59:59-23:59"]
) | st.from_regex(
    r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:00:00(Z|[+-][0-2][0-9]:[0-5][0-9])", fullmatch=True
)


class TestAnything:
    """Whatever is posted is accepted or refused; it is never our failure."""

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(value=JSON)
    def test_any_value(self, writer, value):
        assert_problem_or_accepted(writer.post(value))

    @settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        changes=st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON | ODD_TEXT, max_size=3),
        missing=st.sets(st.sampled_from(FIELDS), max_size=1),
    )
    def test_any_change_of_an_event(self, ingress, changes, missing):
        person = ingress.person()
        event = {name: value for name, value in person.event(**changes).items() if name not in missing}
        assert_problem_or_accepted(person.post(event))

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(body=st.binary(max_size=200))
    def test_any_bytes(self, writer, body):
        assert_problem_or_accepted(writer.post_raw(body))


def assert_problem_or_accepted(answer):
    if answer.status_code == 202:
        return
    if answer.status_code == 207:
        assert all(202 <= item["status"] < 500 for item in answer.json()["items"])
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert_problem(answer, answer.status_code, pointer=answer.json().get("pointer"))


class TestFailure:
    """What the ingress does while something beneath it is away."""

    @pytest.fixture
    def fragile(self, tmp_path):
        with serving(tmp_path / "data") as ingress:
            yield ingress

    @pytest.mark.sqlite_file
    def test_a_store_that_does_not_answer(self, fragile):
        # Given a store that another program has locked for longer than we wait
        person = fragile.person()
        event = person.event()
        before = person.says("before")
        with closing(sqlite3.connect(fragile.data / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")

            # When an event is posted
            begin = time.monotonic()
            answer = person.post(event, idempotency_key="k")

            # Then the person is told in time to come again, and nothing is promised
            assert time.monotonic() - begin < 10
            assert_problem(answer, 503, "store_unavailable")
            assert int(answer.headers["retry-after"]) >= 1

            # And what can be read is read meanwhile
            assert [shown["id"] for shown in person.log()] == [before["id"]]
            other.execute("ROLLBACK")

        # And what is tried again is recorded once
        assert person.post(event, idempotency_key="k").status_code == 202
        assert person.post(event, idempotency_key="k").status_code == 202
        assert [shown["seq"] for shown in person.log()] == [1, 2]

    def test_a_queue_that_is_gone(self, fragile):
        # Given a queue whose file is removed under the ingress
        person = fragile.person()
        person.says("before")
        for file in fragile.data.glob("queue.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()

        # Then events are accepted still, and the queue is made anew
        person.says("after")
        assert (fragile.data / "queue.db").exists()
        assert fragile.http.get("/api/health").json()["status"] == "ok"
        assert len(person.log()) == 2

    def test_a_queue_that_cannot_be_written(self, fragile):
        # Given something in the queue's place that is no file (root may write any file)
        for file in fragile.data.glob("queue.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        (fragile.data / "queue.db").mkdir()

        # Then events are accepted still, in good time, since the sweep will announce them
        person = fragile.person()
        begin = time.monotonic()
        person.says("into the log")
        assert time.monotonic() - begin < 10
        assert len(person.log()) == 1

        # And health tells
        health = fragile.http.get("/api/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert health.json()["parts"]["queue"] == {"ready": False, "error": "queue_unavailable"}
