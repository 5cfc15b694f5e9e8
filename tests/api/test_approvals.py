"""Approvals over HTTP: shown, decided once, and nobody else's."""

import json

import pytest

from tests.api.approvals import an_approval


def decide(person, approval, decision="approve", **changes):
    said = {"decision": decision, "hash": approval["hash"], **changes}
    return person.request("POST", f"/api/approvals/{approval['id']}", json=said)


@pytest.fixture
def approval(person):
    return person.get(f"/api/approvals/{an_approval(person)}").json()


def test_it_is_shown_with_exactly_what_would_be_done(person, approval):
    assert (approval["tool"], approval["arguments"], approval["state"]) == (
        "send_message",
        {"content": "hi"},
        "pending",
    )
    assert person.get("/api/approvals", pending=1).json()["approvals"] == [approval]


def test_it_is_decided_once(person, approval):
    first = decide(person, approval)
    assert (first.status_code, first.json()["state"]) == (200, "approved")
    assert decide(person, approval).json() == first.json()
    other = decide(person, approval, "refuse")
    assert (other.status_code, other.json()["type"].rpartition(":")[2]) == (409, "approval_decided")
    assert person.get("/api/approvals", pending=1).json()["approvals"] == []
    [decided] = person.get("/api/events", type="approval.decided").json()["events"]
    assert decided["metadata"] == {"approvalID": approval["id"], "decision": "approved"}


def test_it_is_about_one_action(person, approval):
    answer = decide(person, approval, hash="0" * 64)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "approval_hash")


def test_after_its_time_it_is_refused(person):
    late = person.get(f"/api/approvals/{an_approval(person, seconds=-1.0)}").json()
    assert late["state"] == "expired"
    answer = decide(person, late)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "approval_expired")


def test_nobody_is_asked_about_what_was_cancelled(person, approval):
    # Given an approval whose message is cancelled
    cancelled = person.request("POST", f"/api/events/{approval['eventID']}/cancel")
    assert cancelled.status_code == 200, cancelled.text
    # Then it waits for nobody, and nobody can decide it
    assert person.get("/api/approvals", pending=1).json()["approvals"] == []
    [listed] = person.get("/api/approvals").json()["approvals"]
    assert (listed["id"], listed["state"]) == (approval["id"], "cancelled")
    answer = decide(person, approval)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "approval_cancelled")
    [told] = [each for each in person.get("/api/audit").json()["records"] if each["kind"] == "approval"]
    assert told["state"] == "cancelled"


def test_it_is_decided_on_the_stream(person, approval):
    with person.websocket() as socket:
        said = {"decision": "refuse", "hash": approval["hash"], "ref": "r"}
        frame = {"type": "decision", "approvalID": approval["id"], **said}
        socket.send(json.dumps(frame))
        while (answer := json.loads(socket.recv(timeout=20)))["type"] != "decided":
            assert answer["type"] != "problem", answer
    assert (answer["ref"], answer["approval"]["state"]) == ("r", "refused")
    assert person.get(f"/api/approvals/{approval['id']}").json() == answer["approval"]


def test_nobody_posts_a_decision_as_an_event(person, approval):
    metadata = {"approvalID": approval["id"], "decision": "approved"}
    answer = person.post(person.event(type="approval.decided", metadata=metadata))
    assert answer.status_code == 403


class TestPermissions:
    """What a model may do is set over the API, by whoever may do it themselves."""

    def make(self, person, **more):
        return person.request("POST", "/api/conversations", json=more)

    def test_a_conversation_has_no_tools_by_itself(self, person):
        made = self.make(person).json()
        assert (made["tools"], made["repo"], made["network"], made["budget"]) == ([], None, "none", None)

    def test_tools_are_given_and_taken_away(self, person):
        tools = [{"name": "write_files"}, {"name": "schedule", "approval": "never"}]
        made = self.make(person, tools=[*tools, {"name": "ask_approval", "approval": "never"}]).json()
        assert made["tools"] == [
            {"name": "write_files", "approval": "first"},
            {"name": "schedule", "approval": "never"},
            {"name": "ask_approval", "approval": "always"},
        ]
        path = f"/api/conversations/{made['id']}"
        assert person.request("PATCH", path, json={"tools": None}).json()["tools"] == []

    def test_its_repository_is_one_of_the_users(self, person):
        known = person.request("POST", "/api/repos", json={"name": "notes"}).json()
        assert self.make(person, repo="notes").json()["repo"] == known["id"]
        answer = self.make(person, repo="nothing")
        assert (answer.status_code, answer.json()["pointer"]) == (422, "/repo")

    @pytest.mark.parametrize(
        ("given", "pointer"),
        [
            ({"tools": [{"name": "format_disk"}]}, "/tools/0/name"),
            ({"tools": [{"name": "list_runs"}, {"name": "list_runs"}]}, "/tools"),
            ({"tools": [{"name": "list_runs", "approval": "perhaps"}]}, "/tools/0/approval"),
            ({"network": "some"}, "/network"),
            ({"budget": {"tokens": 0}}, "/budget/tokens"),
        ],
    )
    def test_what_is_wrong_is_named(self, person, given, pointer):
        answer = self.make(person, **given)
        assert (answer.status_code, answer.json()["pointer"]) == (422, pointer)

    def test_a_service_token_gives_no_tool_that_does_what_it_may_not(self, person):
        draft = {"name": "t", "scopes": ["conversations:write", "repos:read"]}
        token = person.request("POST", "/api/service-tokens", json=draft).json()["token"]
        headers = {"authorization": f"Bearer {token}"}

        def give(name):
            form = {"tools": [{"name": name}]}
            return person.ingress.http.post("/api/conversations", json=form, headers=headers).status_code

        assert [give("read_file"), give("write_files"), give("schedule")] == [201, 403, 403]
