"""Every route as somebody else: nothing of another person's is shown or changed.

The cases come from the route table. A route whose shape is not known here fails `test_every_route_is_checked`
until it has an entry in one of the tables below.
"""

import json
from dataclasses import dataclass

import pytest

from api.app import ROUTES, WEBSOCKETS
from lightning.domain.sessions import Origin
from tests.api.approvals import an_approval
from tests.api.conftest import PATIENCE_SECONDS, Person, written_run

#: What only stands in the owner's log.
CANARY = "canary-7c1f5b"


def a_session(owner):
    with owner.ingress.accounts() as made:
        account = made.run(made.accounts.named(owner.username))
        grant = made.run(made.sessions.start(account, Origin(agent=CANARY)))
        owner.ingress.catch_up(made.storage)
        return grant.session_id


def a_service_token(owner):
    draft = {"name": CANARY, "scopes": ["events:read"]}
    return owner.request("POST", "/api/service-tokens", json=draft).json()["id"]


def a_conversation(owner):
    return owner.get("/api/conversations").json()["conversations"][0]["id"]


def webhook_of(owner):
    """Give a webhook of the owner's; what a case before has deleted is made anew."""
    found = owner.get("/api/webhooks").json()["webhooks"]
    if not found:
        made = owner.request(
            "POST", "/api/webhooks", json={"url": f"https://{CANARY}.example/", "name": CANARY}
        )
        found = [made.json()]
        assert owner.request("POST", f"/api/webhooks/{found[0]['id']}/test").status_code == 202
    return found[0]["id"]


def delivery_of(owner):
    return owner.get(f"/api/webhooks/{webhook_of(owner)}/deliveries").json()["deliveries"][0]["id"]


def run_of(owner):
    """Give a run of the owner's, written down as the worker does it that this ingress has not."""
    posted = owner.get("/api/events", type="worker.task").json()["events"]
    if not posted:
        task = owner.event(type="worker.task", source=CANARY, metadata={"agent": "echo", "input": CANARY})
        posted = [owner.post(task).json()]
    [event] = posted
    return written_run(owner.ingress, event, f"it printed {CANARY}")


def repository_of(owner):
    """Give a repository of the owner's with a file; what a case before has deleted is made anew."""
    found = owner.get("/api/repos").json()["repositories"]
    if not found:
        found = [owner.request("POST", "/api/repos", json={"name": CANARY}).json()]
        text = f"it says {CANARY}".encode()
        written = owner.request("PUT", f"/api/repos/{found[0]['id']}/file?path={CANARY}", content=text)
        assert written.status_code == 200, written.text
    return found[0]["id"]


def schedule_of(owner):
    """Give a schedule of the owner's; what a case before has deleted is made anew."""
    found = owner.get("/api/schedules").json()["schedules"]
    if not found:
        event = {"type": "user.message", "metadata": {"content": CANARY}}
        made = owner.request("POST", "/api/schedule", json={"cron": "@yearly", "event": event})
        assert made.status_code == 201, made.text
        found = [made.json()]
    return found[0]["id"]


#: For each path with a parameter, by its beginning, how to find or make one of the owner's.
PARAMETERS = {
    "/api/events/{id}": lambda owner: {"id": owner.log()[0]["id"]},
    "/api/conversations/{id}": lambda owner: {"id": a_conversation(owner)},
    "/api/approvals/{id}": lambda owner: {"id": an_approval(owner)},
    "/api/runs/{id}": lambda owner: {"id": run_of(owner)},
    "/api/sessions/{id}": lambda owner: {"id": a_session(owner)},
    "/api/service-tokens/{id}": lambda owner: {"id": a_service_token(owner)},
    "/api/webhooks/{webhook}/deliveries": lambda owner: {
        "webhook": webhook_of(owner),
        "delivery": delivery_of(owner),
    },
    "/api/repos/{repo}": lambda owner: {"repo": repository_of(owner)},
    "/api/schedules/{schedule}": lambda owner: {"schedule": schedule_of(owner)},
    "/api/webhooks/{webhook}": lambda owner: {"webhook": webhook_of(owner)},
}

#: Routes whose parameter ``user`` says whose things are asked for; elsewhere it means nothing.
NAMING_USERS = {"/api/audit"}

#: Routes without path parameters that a GET answers for ever: how much of them is read is decided there.
STREAMS = {"/api/stream"}

#: Routes without path parameters that change something, each with why no other person's things are at stake,
#: or the test that shows it.
WRITING = {
    ("POST", "/api/register"): "makes something new; a taken name: test_identity",
    ("POST", "/api/token"): "asks for the password; test_identity",
    ("POST", "/api/token/refresh"): "asks for the refresh token; test_sessions",
    ("POST", "/api/token/revoke"): "asks for the refresh token; test_sessions",
    ("POST", "/api/password"): "changes the caller's own, and asks for it; test_sessions",
    ("POST", "/api/service-tokens"): "makes something new of the caller's own",
    ("POST", "/api/events"): "test_nobody_posts_in_anothers_name",
    (
        "POST",
        "/api/conversations",
    ): "makes something new; test_a_conversation_of_the_same_name_is_another_one",
    ("POST", "/api/repos"): "makes something new of the caller's own, its name beside others'; test_repos",
    ("POST", "/api/schedule"): "makes something new; another's name: test_schedules",
    ("POST", "/api/webhooks"): "makes something new of the caller's own; test_webhooks",
    ("POST", "/api/stream-token"): "makes a token for whom the access token stands for: test_stream_token",
    ("POST", "/notify"): "asks for a signature and shows nothing; test_problems",
}

#: Routes of runs name nothing but the run whose token they ask for: test_run_api.
CASES = [
    (method, route.path)
    for route in ROUTES
    if not route.for_runs
    for method in sorted(route.methods or ())
    if method != "HEAD"
]
WITH_PARAMETERS = [case for case in CASES if "{" in case[1]]
READING = [case for case in CASES if case[0] == "GET" and "{" not in case[1]]

#: What a person may read of their own.
OWN = [route.path for route in ROUTES if ("GET", route.path) in READING and route.scope is not None]


@dataclass
class Tenants:
    owner: Person
    other: Person

    def secrets(self):
        """Everything that stands for the owner's things."""
        events = self.owner.log()
        own = (webhook_of(self.owner), repository_of(self.owner), schedule_of(self.owner))
        return {CANARY, self.owner.id, *own, *(event["id"] for event in events)}


@pytest.fixture(scope="module")
def tenants(ingress):
    # Given someone with events, and somebody else with a log of their own
    owner, other = ingress.person(), ingress.person()
    for number in range(3):
        event = owner.event(
            source=CANARY, metadata={"content": f"{CANARY} {number}", "conversationID": f"{CANARY}-c"}
        )
        assert owner.post(event, idempotency_key=f"key-{number}").status_code == 202
    webhook_of(owner)
    repository_of(owner)
    schedule_of(owner)
    run_of(owner)
    other.says("mine")
    return Tenants(owner, other)


def parameters_of(path):
    """Give what finds the parameters of a path; None when nobody has said how."""
    return next((find for beginning, find in PARAMETERS.items() if path.startswith(beginning)), None)


def filled(path, owner):
    return path.format(**parameters_of(path)(owner))


def everything_of(owner):
    """What the owner sees of their own, by every route but the streams."""
    return {path: owner.get(path).text for path in OWN if path not in STREAMS}


@pytest.mark.parametrize(("method", "path"), CASES)
def test_every_route_is_checked(method, path):
    assert "{" not in path or parameters_of(path), (
        f"{path}: add it to PARAMETERS, so that it is tried with another's"
    )
    known = "{" in path or method == "GET" or (method, path) in WRITING
    assert known, f"{method} {path}: add it to WRITING, with the test that keeps tenants apart"


@pytest.mark.parametrize("entry", WRITING)
def test_no_entry_outlives_its_route(entry):
    assert entry in CASES


@pytest.mark.parametrize(("method", "path"), WITH_PARAMETERS)
def test_anothers_things_are_not_there(tenants, method, path):
    address = filled(path, tenants.owner)
    before = everything_of(tenants.owner)
    bodies = [None] if method == "GET" else [{}, tenants.owner.event(), tenants.other.event()]
    for body in bodies:
        # When somebody else asks for one of the owner's things
        answer = tenants.other.request(method, address, json=body)

        # Then it is as if there were none
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
        assert not {secret for secret in tenants.secrets() if secret in answer.text}

    # And everything of the owner's stands as it stood
    assert everything_of(tenants.owner) == before


@pytest.mark.parametrize(("method", "path"), WITH_PARAMETERS)
def test_the_owner_finds_them(tenants, method, path):
    # so that the case above is not 404 for a mistake of this test
    answer = tenants.owner.request(method, filled(path, tenants.owner))
    assert answer.status_code != 404
    tenants.owner.says(f"{CANARY} again, where that was a deletion")


@pytest.mark.parametrize(("method", "path"), [case for case in READING if case[1] not in STREAMS])
@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "?userID={owner}",
        "?user={owner}",
        "?root={event}",
        "?conversationID={canary}-c",
        "?after=0&limit=200",
    ],
)
def test_reading_shows_nothing_of_anothers(tenants, method, path, parameters):
    # When somebody else reads what they may, and asks for the owner's by every name
    query = parameters.format(owner=tenants.owner.id, event=tenants.owner.log()[0]["id"], canary=CANARY)
    answer = tenants.other.request(method, path + query)

    # Then nothing of the owner's is in it
    refused = path in NAMING_USERS and parameters.startswith("?user=")
    assert answer.status_code == (404 if refused else 200), answer.text
    assert not {secret for secret in tenants.secrets() if secret in answer.text}


@pytest.mark.parametrize(("method", "path"), [case for case in READING if case[1] in STREAMS])
def test_a_stream_shows_nothing_of_anothers(tenants, method, path):
    # Given somebody else who listens while the owner speaks
    seen = []
    parameters = {"after": 0, "userID": tenants.owner.id}
    headers = tenants.other.headers()
    stream = tenants.other.ingress.http.stream(method, path, params=parameters, headers=headers)
    with stream as response:
        tenants.owner.says(f"{CANARY} while somebody listens")
        last = tenants.other.says("the last that is mine")

        # When everything up to their own last event has come
        for line in response.iter_lines():
            seen.append(line)
            if last["id"] in line:
                break

    # Then nothing of the owner's was among it
    assert not {secret for secret in tenants.secrets() if secret in "\n".join(seen)}


@pytest.mark.parametrize("path", [route.path for route in WEBSOCKETS])
def test_a_websocket_shows_nothing_of_anothers(tenants, path):
    # Given somebody else who listens while the owner speaks
    seen = []
    with tenants.other.websocket(path=path, after=0, userID=tenants.owner.id) as socket:
        tenants.owner.says(f"{CANARY} while somebody listens")
        last = tenants.other.says("the last that is mine")

        # When they post in the owner's name, and everything up to their own last event has come
        socket.send(json.dumps({"type": "event", "event": tenants.owner.event()}))
        while not all(any(each in frame for frame in seen) for each in (last["id"], "foreign_user")):
            seen.append(socket.recv(PATIENCE_SECONDS))

    # Then nothing of the owner's was among it
    assert not {secret for secret in tenants.secrets() if secret in "\n".join(seen)}


def test_nobody_posts_in_anothers_name(tenants):
    before = tenants.owner.log()
    # not under their name, nor under their keys and ids
    assert tenants.other.post(tenants.owner.event()).status_code == 403
    for body, headers in [
        (tenants.other.event(), {"idempotency_key": "key-0"}),
        (tenants.other.event(id=before[0]["id"]), {}),
    ]:
        answer = tenants.other.post(body, **headers)
        assert answer.status_code == 202, answer.text
        assert not {secret for secret in tenants.secrets() if secret in answer.text}
    assert tenants.owner.log() == before


def test_a_conversation_of_the_same_name_is_another_one(tenants):
    # When somebody else speaks in a conversation whose id is the owner's
    conversation = f"{CANARY}-c"
    event = tenants.other.event(metadata={"content": "x", "conversationID": conversation})
    assert tenants.other.post(event).status_code == 202

    # Then each sees what they said themselves
    for person, source in ((tenants.owner, CANARY), (tenants.other, "tests")):
        found = person.get("/api/events", conversationID=conversation).json()["events"]
        assert {shown["source"] for shown in found} == {source}
        assert {shown["userID"] for shown in found} == {person.id}
