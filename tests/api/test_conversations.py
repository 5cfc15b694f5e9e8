"""`/api/conversations`, and what can be done to events that are on their way."""

import base64
import json

import pytest

from tests.api.conftest import assert_problem, serving
from tests.api.dashboard.browsing import ended


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("c") / "data", OPENAI_MODEL="small", OPENAI_MODELS="large, huge"
    ) as it:
        yield it


def _token(position) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def speak(person, content, conversation, **metadata):
    event = person.event(metadata={"content": content, "conversationID": conversation, **metadata})
    return person.post(event)


class TestConversations:
    def test_speaking_makes_one(self, person):
        # When somebody speaks twice in a conversation
        first = speak(person, "What is new?", "weather").json()
        second = speak(person, "And now?", "weather").json()
        # Then it is there, with what waits for an answer
        found = person.get("/api/conversations/weather").json()
        assert (found["id"], found["title"], found["model"]) == ("weather", "What is new?", None)
        assert found["waiting"] == [first["id"], second["id"]]
        assert person.get("/api/conversations").json() == {"conversations": [found], "next": None}

    def test_its_messages_are_read_newest_first(self, person):
        for n in range(5):
            speak(person, f"m{n}", "c")
        speak(person, "elsewhere", "d")
        page = person.get("/api/conversations/c/messages", limit=3).json()
        assert [each["metadata"]["content"] for each in page["messages"]] == ["m4", "m3", "m2"]
        rest = person.get("/api/conversations/c/messages", limit=3, before=page["next"]).json()
        assert [each["metadata"]["content"] for each in rest["messages"]] == ["m1", "m0"]
        assert rest["next"] is None

    def test_pages(self, person):
        for name in "abc":
            speak(person, "hello", name)
        first = person.get("/api/conversations", limit=2).json()
        second = person.get("/api/conversations", limit=2, page=first["next"]).json()
        shown = [each["id"] for each in (*first["conversations"], *second["conversations"])]
        assert shown == ["c", "b", "a"]
        for forged in (
            "x",
            "W10=",
            _token([{}, []]),
            _token([1, 2]),
            _token([None, "x"]),
        ):
            assert_problem(person.get("/api/conversations", page=forged), 400, "invalid_parameter")

    def test_it_is_made_and_changed(self, person):
        made = person.request(
            "POST",
            "/api/conversations",
            json={"title": "Weather", "systemPrompt": "Be brief.", "model": "large"},
        )
        assert made.status_code == 201
        address = made.headers["location"]
        assert person.get(address).json() == made.json()
        # When properties are changed and taken away
        changed = person.request("PATCH", address, json={"title": "Rain", "model": None}).json()
        assert (changed["title"], changed["model"], changed["systemPrompt"]) == ("Rain", None, "Be brief.")
        # And nothing that was not named
        assert person.request("PATCH", address, json={}).json()["title"] == "Rain"

    def test_a_name_is_taken_once(self, person):
        body = {"conversationID": "über mich?"}
        assert person.request("POST", "/api/conversations", json=body).status_code == 201
        answer = person.request("POST", "/api/conversations", json=body)
        assert_problem(answer, 409, "conversation_exists", pointer="/conversationID")
        assert person.get("/api/conversations/%C3%BCber%20mich%3F").json()["id"] == "über mich?"

    @pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\nb", "\x7f", "x" * 257])
    def test_what_cannot_stand_in_an_address_is_no_name(self, person, name):
        answer = person.request("POST", "/api/conversations", json={"conversationID": name})
        assert_problem(answer, 422, "invalid_field", pointer="/conversationID")
        assert_problem(speak(person, "x", name), 422, "invalid_field", pointer="/metadata/conversationID")

    @pytest.mark.parametrize(
        ("body", "code", "pointer"),
        [
            ({"model": "gigantic"}, "unknown_model", "/model"),
            ({"title": ""}, "invalid_field", "/title"),
            ({"title": 1}, "invalid_field", "/title"),
            ({"turns": []}, "invalid_field", "/turns"),
            ({"systemPrompt": "x" * 32_001}, "invalid_field", "/systemPrompt"),
        ],
    )
    def test_what_it_cannot_be(self, person, body, code, pointer):
        assert_problem(person.request("POST", "/api/conversations", json=body), 422, code, pointer=pointer)
        speak(person, "x", "c")
        assert_problem(person.request("PATCH", "/api/conversations/c", json=body), 422, code, pointer=pointer)

    def test_it_is_gone_when_it_is_deleted(self, person):
        speak(person, "hello", "c")
        answer = person.request("DELETE", "/api/conversations/c")
        assert answer.status_code == 202
        event = person.get(answer.headers["location"]).json()
        assert (event["type"], event["metadata"]) == (
            "conversation.deleted",
            {"conversationID": "c", **event["metadata"]},
        )
        for method, path in [("GET", ""), ("GET", "/messages"), ("PATCH", ""), ("DELETE", "")]:
            assert_problem(person.request(method, f"/api/conversations/c{path}", json={}), 404, "not_found")
        assert person.get("/api/conversations").json()["conversations"] == []
        answer = speak(person, "hello?", "c")
        assert_problem(answer, 409, "conversation_deleted", pointer="/metadata/conversationID")


class TestWhenBusy:
    def test_reject(self, person):
        speak(person, "one", "c")
        answer = speak(person, "two", "c", whenBusy="reject")
        assert_problem(answer, 409, "conversation_busy", pointer="/metadata/whenBusy")
        assert len(person.log()) == 1

    def test_interrupt(self, person):
        first = speak(person, "one", "c").json()
        second = speak(person, "two", "c", whenBusy="interrupt").json()
        shown = person.get(f"/api/events/{first['id']}").json()
        assert (shown["state"], shown["error"]["code"]) == ("cancelled", "interrupted")
        assert person.get("/api/conversations/c").json()["waiting"] == [second["id"]]

    def test_anything_else(self, person):
        answer = speak(person, "one", "c", whenBusy="whatever")
        assert_problem(answer, 422, "invalid_field", pointer="/metadata/whenBusy")


class TestCancel:
    def test_it_is_over_at_once(self, person):
        event = person.says("hello")
        answer = person.request("POST", f"/api/events/{event['id']}/cancel")
        assert answer.status_code == 200
        assert (answer.json()["state"], answer.json()["error"]["code"]) == ("cancelled", "cancelled")
        assert answer.json()["cancelledAt"]
        # And once more changes nothing
        again = person.request("POST", f"/api/events/{event['id']}/cancel")
        assert again.json() == answer.json()

    def test_who_waits_for_it_hears_of_it(self, person):
        event = person.says("hello")
        person.request("POST", f"/api/events/{event['id']}/cancel")
        assert person.get(f"/api/events/{event['id']}", wait=20).json()["state"] == "cancelled"

    def test_what_is_not_there(self, person):
        assert_problem(person.request("POST", "/api/events/nothing/cancel"), 404, "not_found")
        assert_problem(person.request("POST", "/api/events/head/cancel"), 404, "not_found")


class TestReplay:
    def test_a_cancelled_one_is_repeated(self, person):
        event = person.says("hello")
        assert_problem(person.request("POST", f"/api/events/{event['id']}/replay"), 409, "not_over")
        person.request("POST", f"/api/events/{event['id']}/cancel")
        # When it is replayed twice under one key
        path, headers = f"/api/events/{event['id']}/replay", {"idempotency-key": "k"}
        answers = [person.request("POST", path, headers=headers) for _ in range(2)]
        # Then there is one new event that says the same
        assert {answer.status_code for answer in answers} == {202}
        [again] = {answer.json()["id"] for answer in answers}
        shown = person.get(f"/api/events/{again}").json()
        assert (shown["replayOf"], shown["state"]) == (event["id"], "accepted")
        assert shown["metadata"] == event["metadata"]
        assert len(person.log()) == 2

    def test_what_is_not_there(self, person):
        assert_problem(person.request("POST", "/api/events/nothing/replay"), 404, "not_found")


class TestDiscard:
    def test_a_dead_one_counts_as_cancelled_and_keeps_its_reason(self, ingress, person):
        event = person.says("hello")
        path = f"/api/events/{event['id']}/discard"
        assert_problem(person.request("POST", path), 409, "not_dead")
        # Given one that died
        error = {"code": "model_refused", "message": "no"}
        ended(ingress, person, event["id"], "dead", error=error)
        # When somebody else, and then its user, discards it
        assert_problem(ingress.person().request("POST", path), 404, "not_found")
        answer = person.request("POST", path)
        # Then it is over, once
        assert (answer.status_code, answer.json()["state"], answer.json()["error"]) == (
            200,
            "cancelled",
            error,
        )
        assert person.get(f"/api/events/{event['id']}").json()["state"] == "cancelled"
        assert_problem(person.request("POST", path), 409, "not_dead")
        assert person.request("POST", f"/api/events/{event['id']}/replay").status_code == 202

    def test_what_is_not_there(self, person):
        assert_problem(person.request("POST", "/api/events/nothing/discard"), 404, "not_found")
