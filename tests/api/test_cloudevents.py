"""CloudEvents 1.0 on `/api/events`, with the official SDK as the sender."""

import asyncio
import json
import re
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from api import cloudevents
from lightning.errors import InvalidEvent, InvalidRequest
from lightning.storage import open_storage
from tests.api.conftest import assert_problem, from_now

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"

#: What the specification allows in a string (section "Type System"), as far as our own limit goes.
ALLOWED = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="".join(map(chr, range(0xFDD0, 0xFDF0)))
).filter(lambda character: ord(character) & 0xFFFE != 0xFFFE)
TEXT = st.text(ALLOWED, min_size=1, max_size=256)


HELLO = {"content": "hello"}


def event(data=HELLO, **attributes):
    """Make an event by the SDK; it gives it an id and the time."""
    return CloudEvent(
        {"type": "llm.chat", "source": "/tests", "datacontenttype": "application/json", **attributes},
        data,
    )


def in_json(data=HELLO, **attributes):
    """Make an event in JSON format by hand; an attribute that is ... is left out."""
    whole = {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "llm.chat",
        "data": data,
        **attributes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def send(person, message, **headers):
    """Post what the SDK made of an event."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.request("POST", "/api/events", content=message.body, headers={**message.headers, **named})


def post(person, value, kind=cloudevents.STRUCTURED):
    return person.post(value, content_type=kind)


def post_batch(person, *values):
    answer = post(person, list(values), cloudevents.BATCH)
    assert answer.status_code in {202, 207}, answer.text[:2000]
    return answer.status_code, answer.json()["items"]


def post_binary(person, *, body=b'{"content": "hello"}', kind="application/json", **attributes):
    """Post an event in binary mode by hand; values are bytes as they go over the wire."""
    whole = {"specversion": b"1.0", "id": b"1", "source": b"/tests", "type": b"llm.chat", **attributes}
    headers = [("authorization", f"Bearer {person.token}".encode()), ("content-type", kind.encode())]
    headers += [(f"ce-{name}", value) for name, value in whole.items() if value is not ...]
    return person.ingress.http.post("/api/events", content=body, headers=headers)


def accepted(answer):
    assert answer.status_code == 202, answer.text[:2000]
    return answer.json()


class TestBySdk:
    @pytest.mark.parametrize("write", [http.to_structured_event, http.to_binary_event])
    def test_an_event_is_recorded_as_ours(self, person, write):
        # Given an event by the SDK, with everything that it may carry
        sent = event(
            {"content": "Grüße, 世界 🌍", "conversationID": "c1"},
            time=datetime(2026, 1, 31, 12, tzinfo=UTC),
            subject="a subject",
            dataschema="https://example.com/schema",
            source='/tests/Grüße %41 "x"',
            userid=person.id,
            partitionkey="p",
        )

        # When it is sent
        answer = send(person, write(sent))

        # Then it stands in the log in our form
        shown = accepted(answer)
        assert answer.headers["location"] == f"/api/events/{shown['id']}"
        assert shown["type"] == "llm.chat"
        assert shown["source"] == sent.get_source()
        assert shown["timestamp"] == "2026-01-31T12:00:00Z"
        assert shown["metadata"] == {"content": "Grüße, 世界 🌍", "conversationID": "c1"}
        assert shown["userID"] == person.id
        assert person.log() == [shown]

    def test_a_batch(self, person):
        # Given a batch of what the SDK writes
        sent = [event({"content": f"n{number}"}) for number in range(5)]
        body = b"[" + b",".join(JSONFormat().write(each) for each in sent) + b"]"

        # When it is posted twice, then it is recorded once, in order
        answers = [person.post_raw(body, content_type=cloudevents.BATCH) for _ in range(2)]
        first, second = (accepted(answer)["items"] for answer in answers)
        assert first == second
        assert [item["event"]["metadata"]["content"] for item in first] == ["n0", "n1", "n2", "n3", "n4"]
        assert person.log() == [item["event"] for item in first]

    def test_data_in_bytes(self, person):
        # the SDK writes bytes as `data_base64`
        sent = event(b'{"content": "in bytes"}')
        assert b"data_base64" in http.to_structured_event(sent).body
        shown = accepted(send(person, http.to_structured_event(sent)))
        assert shown["metadata"]["content"] == "in bytes"

    def test_the_same_event_in_either_mode_is_one(self, person):
        sent = event()
        first = accepted(send(person, http.to_binary_event(sent)))
        assert accepted(send(person, http.to_structured_event(sent))) == first
        assert len(person.log()) == 1

    def test_an_older_version_is_refused(self, person):
        old = {
            "specversion": "0.3",
            "id": "1",
            "source": "/tests",
            "type": "llm.chat",
            "data": {"content": "x"},
        }
        assert_problem(post(person, old), 400, "unsupported_specversion", pointer="/specversion")
        answer = post_binary(person, specversion=b"0.3")
        assert_problem(answer, 400, "unsupported_specversion", pointer="/specversion")
        assert person.log() == []


class TestIdentity:
    def test_source_and_id_make_the_event(self, person):
        first = accepted(post(person, in_json()))
        assert accepted(post(person, in_json())) == first
        assert accepted(post(person, in_json(source="/other")))["id"] != first["id"]
        assert accepted(post(person, in_json(id="2")))["id"] != first["id"]
        assert len(person.log()) == 3

    def test_a_boundary_may_lie_anywhere(self, person):
        one = accepted(post(person, in_json(source="/a", id="b1")))
        assert accepted(post(person, in_json(source="/ab", id="1")))["id"] != one["id"]

    def test_another_event_under_the_same_name_is_a_conflict(self, person):
        accepted(post(person, in_json()))
        answer = post(person, in_json({"content": "other"}))
        assert_problem(answer, 409, "id_taken", pointer="/id")
        status, items = post_batch(person, in_json(), in_json({"content": "other"}))
        assert status == 207
        assert [item["status"] for item in items] == [202, 409]
        assert items[1]["problem"]["pointer"] == "/1/id"

    def test_what_is_not_kept_makes_no_difference(self, person):
        first = accepted(post(person, in_json(traceparent=TRACE)))
        again = in_json(traceparent=OTHER_TRACE, subject="s", datacontenttype="application/json", ext=1)
        assert accepted(post(person, again)) == first

    def test_an_idempotency_key_is_not_asked(self, person):
        headers = {"content_type": cloudevents.STRUCTURED, "idempotency_key": "k"}
        one = accepted(person.post(in_json(), **headers))
        assert accepted(person.post(in_json(id="2"), **headers))["id"] != one["id"]

    def test_it_is_apart_from_ids_of_ours(self, person):
        theirs = accepted(post(person, in_json()))
        assert person.post(person.event(id="1")).json()["id"] != theirs["id"]


class TestDefaults:
    def test_without_a_time_it_is_now(self, person):
        # Given an event without a time
        before = datetime.now(UTC)
        shown = accepted(post(person, in_json()))

        # Then it has the time of its arrival, and is known again later
        assert abs((datetime.fromisoformat(shown["timestamp"]) - before).total_seconds()) < 10
        assert accepted(post(person, in_json())) == shown

    def test_null_says_that_an_attribute_is_not_set(self, person):
        unset = in_json(time=None, userid=None, subject=None, datacontenttype=None, traceparent=None)
        assert accepted(post(person, unset))["userID"] == person.id

    def test_another_persons_log(self, ingress, person):
        # Given the extension that names somebody else
        other = ingress.person()
        sent = in_json(userid=other.id)

        # Then a person may not, and an operator may
        assert_problem(post(person, sent), 403, "foreign_user", pointer="/userid")
        status, items = post_batch(person, in_json(), sent)
        assert (status, [item["status"] for item in items]) == (207, [202, 403])
        assert items[1]["problem"]["pointer"] == "/1/userid"
        assert other.log() == []
        assert accepted(post(ingress.person(role="service"), sent))["userID"] == other.id

    def test_an_empty_batch_is_one(self, person):
        assert post_batch(person) == (202, [])


WRONG = {
    "no object": (["x"], 422, "invalid_field", ""),
    "no id": (in_json(id=...), 422, "invalid_field", "/id"),
    "no source": (in_json(source=...), 422, "invalid_field", "/source"),
    "no type": (in_json(type=...), 422, "invalid_field", "/type"),
    "no specversion": (in_json(specversion=...), 400, "unsupported_specversion", "/specversion"),
    "a number for specversion": (in_json(specversion=1.0), 400, "unsupported_specversion", "/specversion"),
    "null id": (in_json(id=None), 422, "invalid_field", "/id"),
    "empty source": (in_json(source=""), 422, "invalid_field", "/source"),
    "a number for id": (in_json(id=1), 422, "invalid_field", "/id"),
    "long id": (in_json(id="x" * 257), 422, "invalid_field", "/id"),
    "a control character": (in_json(source="/a\nb"), 422, "invalid_field", "/source"),
    "a C1 control character": (in_json(id="\x85"), 422, "invalid_field", "/id"),
    "a noncharacter": (in_json(id="\ufffe"), 422, "invalid_field", "/id"),
    "a name in capitals": (in_json(userID="x"), 422, "invalid_field", "/userID"),
    "a name with a hyphen": (in_json(**{"a-b": "x"}), 422, "invalid_field", "/a-b"),
    "time without a zone": (in_json(time="2026-01-31T12:00:00"), 422, "invalid_field", "/time"),
    "time to come": (in_json(time=from_now(days=1)), 422, "timestamp_in_future", "/time"),
    "a number for time": (in_json(time=1), 422, "invalid_field", "/time"),
    "unknown type": (in_json(type="com.example.x"), 422, "unknown_type", "/type"),
    "a type of the platform": (in_json(type="llm.chat.response"), 403, "platform_event", "/type"),
    "no data": (in_json(data=...), 422, "invalid_field", "/data/content"),
    "null data": (in_json(data=None), 422, "invalid_field", "/data"),
    "data that is no object": (in_json("text"), 422, "invalid_field", "/data"),
    "data with a mistake": (in_json({"content": 1}), 422, "invalid_field", "/data/content"),
    "data with too much": (in_json({"content": "x", "~/": 1}), 422, "invalid_field", "/data/~0~1"),
    "data that is no JSON": (
        in_json("<x/>", datacontenttype="application/xml"), 422, "unsupported_data", "/datacontenttype",
    ),
    "data twice": (in_json(data_base64="e30="), 422, "invalid_field", "/data_base64"),
    "base64 that is none": (in_json(data=..., data_base64="%%"), 422, "invalid_field", "/data_base64"),
    "base64 beyond ASCII": (in_json(data=..., data_base64="ü"), 422, "invalid_field", "/data_base64"),
    "base64 of no JSON": (
        in_json(data=..., data_base64=b64encode(b"x").decode()), 400, "not_json", "/data_base64",
    ),
    "base64 of a key twice": (
        in_json(data=..., data_base64=b64encode(b'{"a":1,"a":1}').decode()),
        400, "duplicate_key", "/data_base64",
    ),
}  # fmt: skip


class TestWrong:
    @pytest.mark.parametrize(("value", "status", "code", "pointer"), WRONG.values(), ids=WRONG)
    def test_it_is_refused_with_a_pointer_into_what_was_sent(self, person, value, status, code, pointer):
        assert_problem(post(person, value), status, code, pointer=pointer)
        assert person.log() == []

    def test_in_a_batch_only_that_one_is(self, person):
        # Given a batch of every mistake, with two in between that have none
        wrong = [value for value, *_ in WRONG.values()]

        # When it is posted, then each is told its own
        status, items = post_batch(person, in_json(id="first"), *wrong, in_json(id="last"))
        assert status == 207
        assert [items[0]["status"], items[-1]["status"]] == [202, 202]
        for place, (_, code, word, pointer) in enumerate(WRONG.values(), start=1):
            problem = items[place]["problem"]
            expected = (code, word, f"/{place}{pointer}")
            assert (problem["status"], problem["code"], problem["pointer"]) == expected
        assert len(person.log()) == 2

    @pytest.mark.parametrize("value", [in_json(), "text", None, 1])
    def test_a_batch_that_is_none(self, person, value):
        answer = post(person, value, cloudevents.BATCH)
        assert_problem(answer, 422, "invalid_field", pointer="")

    def test_a_batch_in_a_batch(self, person):
        status, items = post_batch(person, [in_json()], in_json())
        assert (status, items[0]["problem"]["pointer"], items[1]["status"]) == (207, "/0", 202)

    def test_a_batch_of_too_many(self, person):
        answer = post(person, [in_json(id=str(number)) for number in range(51)], cloudevents.BATCH)
        assert_problem(answer, 422, "batch_size", pointer="")


class TestBinary:
    def test_values_are_decoded_once(self, person):
        # Given values as older and newer senders write them
        for number, (wire, source) in enumerate(
            {
                b"Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀",
                b"%e2%82%ac": "€",
                b"%41%2541": "A%41",
                b'"quoted \\"text\\" %25"': 'quoted "text" %',
                b"50%": "50%",
                "Grüße".encode(): "Grüße",
            }.items()
        ):
            # When they are sent, then they are read as the binding says
            shown = accepted(post_binary(person, source=wire, id=str(number).encode()))
            assert shown["source"] == source

    @pytest.mark.parametrize(
        "attributes",
        [
            {"source": b"%C0%A0"},
            {"source": b"\xff"},
            {"source": "Grüße".encode("latin-1")},
            {"id": b"%ED%A0%80"},
            {"source": b'"open'},
            {"source": b'"a"b"'},
            {"datacontenttype": b"application/json"},
        ],
    )
    def test_values_that_cannot_be_decoded(self, person, attributes):
        assert_problem(post_binary(person, **attributes), 400, "invalid_header")
        assert person.log() == []

    @pytest.mark.parametrize(
        "value", [b"a%00b", b"a%0d%0aX-Injected:%201", b"%7F", b"a%C2%85b", b"%EF%BF%BF"]
    )
    @pytest.mark.parametrize("name", ["id", "source", "type", "userid"])
    def test_control_characters(self, person, name, value):
        assert_problem(post_binary(person, **{name: value}), 422, "invalid_field", pointer=f"/{name}")
        assert person.log() == []

    @pytest.mark.parametrize("name", ["id", "source", "type"])
    def test_a_missing_attribute(self, person, name):
        answer = post_binary(person, **{name: ...})
        assert_problem(answer, 422, "invalid_field", pointer=f"/{name}")

    def test_without_its_version_it_is_no_event_of_any(self, person):
        answer = post_binary(person, specversion=...)
        assert_problem(answer, 400, "unsupported_specversion", pointer="/specversion")

    def test_a_header_that_is_there_twice(self, person):
        message = http.to_binary_event(event())
        headers = [
            ("authorization", f"Bearer {person.token}"),
            *message.headers.items(),
            ("CE-Source", "/other"),
        ]
        answer = person.ingress.http.post("/api/events", content=message.body, headers=headers)
        assert_problem(answer, 400, "invalid_header")
        assert person.log() == []

    def test_very_many_headers(self, person):
        few = {f"x{number}": b"1" for number in range(500)}
        accepted(post_binary(person, **few))
        many = {f"x{number}": b"1" * 60 for number in range(1200)}
        assert_problem(post_binary(person, **many), 431, "headers_too_large")

    @pytest.mark.parametrize(
        "kind", ["application/json; charset=utf-8", "text/json", "application/chat+json"]
    )
    def test_data_is_any_json(self, person, kind):
        accepted(post_binary(person, kind=kind))

    @pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/octet-stream", "json"])
    def test_other_data_is_refused(self, person, kind):
        assert_problem(post_binary(person, kind=kind), 415, "unsupported_media_type")
        assert person.log() == []

    def test_pointers_lead_into_the_format_of_json(self, person):
        answer = post_binary(person, body=b'{"content": 1}')
        assert_problem(answer, 422, "invalid_field", pointer="/data/content")
        answer = post_binary(person, body=b'{"content": "x", "content": "y"}')
        assert_problem(answer, 400, "duplicate_key", pointer="/data/content")
        assert_problem(post_binary(person, body=b"{"), 400, "not_json")
        assert_problem(post_binary(person, body=b""), 422, "invalid_field", pointer="/data/content")
        assert_problem(post_binary(person, body=b"[]"), 422, "invalid_field", pointer="/data")
        answer = post_binary(person, body=b"[" + b"1," * 150_000 + b"1]")
        assert_problem(answer, 413, "too_large")

    def test_in_structured_mode_headers_are_copies(self, person):
        # the binding lets a sender repeat the attributes as headers; the body counts
        answer = person.post(
            in_json(), content_type=cloudevents.STRUCTURED, ce_id="other", ce_specversion="9"
        )
        accepted(answer)

    def test_other_headers_do_not_make_an_event_a_cloudevent(self, person):
        assert person.post(person.event(), ce_other="x", ce_time="y").status_code == 202


class TestTrace:
    def trace_of(self, person, shown):
        async def read():
            storage = open_storage(person.ingress.settings)
            try:
                return await storage.get("events", person.id, shown["id"])
            finally:
                await storage.close()

        return asyncio.run(read()).body["trace"].get("traceparent")

    def test_the_event_continues_the_trace_that_it_carries(self, person):
        shown = accepted(send(person, http.to_binary_event(event(traceparent=TRACE))))
        assert self.trace_of(person, shown).split("-")[1] == TRACE.split("-")[1]

    def test_each_of_a_batch_continues_its_own(self, person):
        _, items = post_batch(
            person, in_json(id="1", traceparent=TRACE), in_json(id="2", traceparent=OTHER_TRACE)
        )
        traces = [self.trace_of(person, item["event"]).split("-")[1] for item in items]
        assert traces == [TRACE.split("-")[1], OTHER_TRACE.split("-")[1]]

    def test_the_trace_of_the_request_is_nearer(self, person):
        shown = accepted(
            send(person, http.to_structured_event(event(traceparent=TRACE)), traceparent=OTHER_TRACE)
        )
        assert self.trace_of(person, shown).split("-")[1] == OTHER_TRACE.split("-")[1]

    @pytest.mark.parametrize("traceparent", ["", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 5000])
    def test_a_bad_trace_does_not_cost_the_event(self, person, traceparent):
        accepted(post(person, in_json(traceparent=traceparent)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64", "userid"]
)


class TestMapping:
    """The mapping alone, over anything."""

    @settings(deadline=None, database=None)
    @given(id=TEXT, source=TEXT, data=st.dictionaries(st.text(), JSON, max_size=3), subject=TEXT)
    @example(id="\ue000", source='a b%"\\', data={}, subject="s")
    def test_both_modes_of_the_sdk_come_to_the_same(self, id, source, data, subject):
        # Given what the SDK makes of one event
        sent = event(data, id=id, source=source, type="a.b")
        structured, binary = http.to_structured_event(sent), http.to_binary_event(sent)

        # When either is read
        headers = [(name.lower().encode(), value.encode()) for name, value in binary.headers.items()]
        assert cloudevents.is_binary(headers)
        by_headers = {**cloudevents.from_headers(headers), "data": json.loads(binary.body)}
        one, two = (cloudevents.mapped(value, subject) for value in (json.loads(structured.body), by_headers))

        # Then it is the same event, in our form
        assert one == two
        assert one.raw == one.said
        assert one.raw["id"], one.raw["source"] == (id, source)
        assert (one.raw["metadata"], one.raw["userID"]) == (data, subject)

    @settings(deadline=None, database=None)
    @given(one=st.tuples(TEXT, TEXT), two=st.tuples(TEXT, TEXT))
    def test_keys_are_the_same_for_the_same_names_only(self, one, two):
        assume(one != two)
        events = [in_json(source=each[0], id=each[1]) for each in (one, two, one)]
        keys = {cloudevents.mapped(value, "s").key for value in events}
        assert len(keys) == 2

    @settings(max_examples=300, deadline=None, database=None)
    @given(changes=st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=3))
    def test_anything_is_mapped_or_refused_in_its_own_words(self, changes):
        value = {**in_json(), **changes}
        try:
            found = cloudevents.mapped(value, "me")
        except (InvalidEvent, InvalidRequest) as error:
            # a pointer leads to something that was sent, or to what is missing from it
            if error.pointer:
                name = error.pointer.split("/")[1].replace("~1", "/").replace("~0", "~")
                assert name in changes
        else:
            assert set(found.raw) - {"metadata"} == {"id", "source", "type", "userID", "timestamp"}
            assert re.fullmatch("[0-9a-f]{64}", found.key)

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        headers=st.lists(
            st.tuples(
                st.sampled_from([b"ce-id", b"ce-source", b"ce-time", b"ce-x", b"content-type", b"ce-"]),
                st.binary(max_size=20),
            ),
            max_size=6,
        )
    )
    def test_any_headers_are_read_or_refused(self, headers):
        with suppress(InvalidRequest):
            found = cloudevents.from_headers(headers)
            assert set(found) <= {"id", "source", "time"}
            assert all(isinstance(value, str) for value in found.values())

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ("", ""),
            ("/metadata", "/data"),
            ("/metadata/content", "/data/content"),
            ("/metadata/metadata/0", "/data/metadata/0"),
            ("/userID", "/userid"),
            ("/timestamp", "/time"),
            ("/id", "/id"),
            ("/a~1b", "/a~1b"),
        ],
    )
    def test_pointers(self, ours, theirs):
        assert cloudevents.own_pointer(ours) == theirs

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(value=JSON | st.dictionaries(NAMES, JSON))
    def test_whatever_is_posted_is_never_our_failure(self, person, value):
        for kind in (cloudevents.STRUCTURED, cloudevents.BATCH):
            answer = post(person, value, kind)
            assert answer.status_code in {202, 207} or 400 <= answer.status_code < 500, answer.text[:2000]
