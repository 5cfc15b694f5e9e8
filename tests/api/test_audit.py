"""The audit trail: what events caused, told from the log; who may read whose."""

from datetime import UTC, datetime

import pytest

from lightning.domain.budgets import Budgets
from lightning.domain.deliveries import Attempt, Deliveries
from lightning.domain.turns import Turns
from lightning.events import Draft, now_text
from lightning.llm import Completion, ToolCall, Usage
from lightning.log import Claimed, EventLog
from lightning.trail import COLUMNS
from tests.api.approvals import an_approval
from tests.api.conftest import assert_problem, serving
from tests.api.runs import GoingRun, working

SECRET = "canary-5a81-secret-of-the-provider"
PRICES = '{"m-1": {"input": 2, "output": 10}}'
HOOK = "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    settings = {"LIGHTNING_MODEL_PRICES": PRICES, "OPENAI_API_KEY": SECRET}
    with serving(tmp_path_factory.mktemp("ingress") / "data", **settings) as ingress:
        yield ingress


def beside(person, work):
    """Do something to the store that a worker does, and have the ingress see it."""
    with person.ingress.accounts() as made:
        found = made.run(work(made.storage))
        person.ingress.catch_up(made.storage)
        return found


def trail(person, **query):
    """Read the whole trail, page by page."""
    records, after = [], 0
    while after is not None:
        answer = person.get("/api/audit", **query, after=after)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        records, after = records + page["records"], page["next"]
    assert all(tuple(record) == COLUMNS for record in records)
    return records


def kinds(records):
    return [record["kind"] for record in records]


def of_kind(records, kind):
    return [record for record in records if record["kind"] == kind]


def draft(id, type, metadata):
    return Draft(id, type, "t", metadata, now_text(), {})


@pytest.fixture(scope="module")
def run(ingress):
    """Give a run that committed something, asked a model twice, and was delivered at the second attempt."""
    run = working(ingress.person(), "r1", "c0", resources={"cpu": 2, "memoryMiB": 512, "diskMiB": 64})

    async def end(runs, found):
        found = await runs.advance(found, stage="running", begun=True, started_at=1000.0, ended_at=1002.5)
        found = await runs.conclude(found, {"status": "failed", "message": f"no {SECRET}", "exitCode": 3})
        return await runs.settle(found, {"repo": "r1", "base": "c0"}, "c1")

    run.change(end)

    async def follow(storage):
        log, task = EventLog(storage), await EventLog(storage).get(run.person.id, run.task["id"])
        budgets = Budgets(storage)
        for call in ("one", "two"):
            await budgets.reserve(task, call, least=1, most=100, seconds=60)
            await budgets.settle(task, call, 75, ("m-1-2026-01-01", 50, 25))
        delivery = draft("delivery", "webhook.delivery", {"webhookID": HOOK, "eventID": task["id"]})
        [event] = await log.append(run.person.id, [delivery], cause=task)
        deliveries = Deliveries(storage, log)
        refused = Attempt(1, now_text(), 250, 503, "refused", "it answered 503", "busy")
        await deliveries.note(event, refused)
        await deliveries.note(event, Attempt(2, now_text(), 40, 204, None, None, ""))

    beside(run.person, follow)
    GoingRun(run.person)
    return run


def test_a_task_tells_its_run_its_calls_its_commit_and_its_deliveries(run):
    found = trail(run.person, event=run.task["id"])
    # Then all of it is there, in the order of the log, and nothing of another root
    assert kinds(found) == ["event", "model_call", "run", "commit", "event", "delivery", "delivery"]
    assert {record["root"] for record in found} == {run.task["id"]}
    [call], [made], [ran] = (of_kind(found, kind) for kind in ("model_call", "commit", "run"))
    assert (call["name"], call["number"]) == ("m-1-2026-01-01", 2)
    assert (call["inputTokens"], call["outputTokens"], call["dollars"]) == (100, 50, 0.0007)
    assert (made["name"], made["id"], made["by"]) == ("r1", "c1", f"run {run.id}")
    assert (ran["name"], ran["id"], ran["state"], ran["exitCode"]) == ("echo", run.id, "failed", 3)
    assert (ran["seconds"], ran["cpu"], ran["memoryMiB"], ran["diskMiB"]) == (2.5, 2, 512, 64)
    assert (ran["at"], ran["endedAt"]) == ("1970-01-01T00:16:40.000Z", "1970-01-01T00:16:42.500Z")
    # And what is secret is not
    assert ran["detail"] == "no [redacted]"
    first, second = of_kind(found, "delivery")
    assert (first["name"], first["number"], first["state"], first["httpStatus"]) == (HOOK, 1, "failed", 503)
    assert (first["seconds"], first["error"]) == (0.25, "refused")
    assert (second["number"], second["state"], second["httpStatus"]) == (2, "delivered", 204)


def test_an_event_tells_what_followed_from_it_alone(run):
    assert kinds(trail(run.person, event="delivery")) == ["event", "delivery", "delivery"]


def test_a_page_is_of_so_many_events(run):
    whole = trail(run.person)
    assert kinds(whole)[-2:] == ["event", "run"]
    assert trail(run.person, limit=1) == whole
    first = run.person.get("/api/audit", limit=1).json()
    assert {record["eventID"] for record in first["records"]} == {run.task["id"]}
    assert first["next"] == run.task["seq"]


def test_it_begins_where_it_is_asked_to(ingress):
    person = ingress.person()
    recorded = [person.says(str(number))["recordedAt"] for number in range(5)]
    told = [record["at"] for record in trail(person)]
    assert told == recorded
    for number, since in enumerate(recorded):
        # those of one millisecond are told together
        assert [record["at"] for record in trail(person, since=since)] == recorded[recorded.index(since) :], (
            number
        )
    assert trail(person, since=datetime.now(UTC).isoformat()) == []


def test_an_approval_tells_who_decided_what(ingress):
    person = ingress.person()
    undecided, agreed = an_approval(person), an_approval(person, content=f"pay {SECRET}")
    asked = person.get(f"/api/approvals/{agreed}").json()
    decision = {"decision": "approve", "hash": asked["hash"]}
    assert person.request("POST", f"/api/approvals/{agreed}", json=decision).status_code == 200
    # Then it is told of whoever decided, with the hash of exactly what was agreed to
    approvals = {record["id"]: record for record in of_kind(trail(person), "approval")}
    pending, approved = approvals[undecided], approvals[agreed]
    assert (pending["state"], pending["by"]) == ("pending", None)
    assert (approved["state"], approved["by"], approved["name"]) == ("approved", person.id, "send_message")
    assert approved["detail"] == f'{asked["hash"]} {{"content": "pay [redacted]"}}'
    assert approved["at"] >= asked["createdAt"]


def test_each_call_of_a_model_is_told_with_its_own_tokens(ingress):
    person = ingress.person()
    chat = person.says("hello")

    async def answer(storage):
        log, turns = EventLog(storage), Turns(storage)
        claim = await log.claim(person.id, chat["id"], 0, "me", 60)
        assert isinstance(claim, Claimed)
        call = ToolCall("1", "write_files", "{}")
        reply = Completion("", "m-1", Usage(10, 5, 15), "tool_calls", (call,))
        turn = await turns.record(claim.event, chat["id"], chat["id"], 0, reply)
        made = {**turn.document["calls"][0], "result": "done", "commit": {"repo": "r9", "commit": "c9"}}
        await turns.write(turn.with_call(0, made))
        usage = {"prompt_tokens": 40, "completion_tokens": 11, "total_tokens": 51}
        said = {"content": "hi", "conversationID": chat["id"], "model": "m-1", "usage": usage}
        await log.end(claim, "done", outputs=[draft("answer", "llm.chat.response", said)])

    beside(person, answer)
    found = trail(person)
    # Then the first is that of the reply that called a tool, the second the rest of what the answer took
    calls = [
        (each["eventID"], each["inputTokens"], each["outputTokens"]) for each in of_kind(found, "model_call")
    ]
    assert calls == [(chat["id"], 10, 5), ("answer", 30, 6)]
    [made] = of_kind(found, "commit")
    assert (made["name"], made["id"], made["by"]) == ("r9", "c9", "write_files")
    [event, answer] = of_kind(found, "event")
    assert (event["state"], event["number"], answer["cause"]) == ("done", 1, chat["id"])


def test_what_people_did_to_events_is_told_of_them(ingress):
    person, operator = ingress.person(), ingress.person(role="operator")
    chat = person.says("hello")
    # Given an event that its user cancels and then replays
    assert person.request("POST", f"/api/events/{chat['id']}/cancel").status_code == 200
    again = person.request("POST", f"/api/events/{chat['id']}/replay").json()

    async def die(storage):
        log = EventLog(storage)
        claim = await log.claim(person.id, again["id"], 0, "me", 60)
        await log.end(claim, "dead", error={"code": "broken", "message": "x"})

    # and that dies, is replayed, dies again and is discarded
    beside(person, die)
    assert person.request("POST", f"/api/events/{again['id']}/replay").status_code == 202

    async def die_again(storage):
        log = EventLog(storage)
        event = await log.get(person.id, again["id"])
        claim = await log.claim(person.id, again["id"], event["wake"], "me", 60)
        await log.end(claim, "dead", error={"code": "broken", "message": "x"})

    beside(person, die_again)
    assert person.request("POST", f"/api/events/{again['id']}/discard").status_code == 200
    # Then an operator reads who did what, in its order
    found = trail(operator, user=person.username)
    acts = [
        (each["kind"], each["eventID"], each["id"], each["by"]) for each in found if each["kind"] != "event"
    ]
    assert acts == [
        ("cancel", chat["id"], None, person.id),
        ("replay", again["id"], chat["id"], person.id),
        ("replay", again["id"], chat["id"], person.id),
        ("discard", again["id"], None, person.id),
    ]
    [event] = [each for each in of_kind(found, "event") if each["eventID"] == again["id"]]
    assert (event["state"], event["number"], event["error"], event["id"]) == (
        "cancelled",
        2,
        "broken",
        chat["id"],
    )


def test_only_operators_read_of_others(ingress):
    person, other, operator = ingress.person(), ingress.person(), ingress.person(role="operator")
    said = person.says("hello")
    # Then whoever is no operator does not even learn that there is such a user
    for named in (person.id, person.username, "nobody-at-all"):
        assert_problem(other.get("/api/audit", user=named), 404, "not_found")
    assert_problem(other.get("/api/audit", event=said["id"]), 404, "not_found")
    assert_problem(operator.get("/api/audit", user="nobody-at-all"), 404, "not_found")
    # And operators read by name and by id, of an event too; a person of themselves likewise
    expected = trail(person)
    assert [each["eventID"] for each in expected] == [said["id"]]
    assert trail(person, user=person.username.upper()) == expected
    for named in (person.id, person.username):
        assert trail(operator, user=named) == expected
        assert trail(operator, user=named, event=said["id"]) == expected


def test_a_program_needs_the_scope(ingress):
    person = ingress.person()
    for scopes, status in ((["events:read"], 403), (["audit:read"], 200)):
        made = person.request("POST", "/api/service-tokens", json={"name": "x", "scopes": scopes}).json()
        headers = {"authorization": f"Bearer {made['token']}"}
        assert person.request("GET", "/api/audit", headers=headers).status_code == status


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"limit": 201}, {"after": -1}])
def test_wrong_questions_are_refused(run, query):
    assert_problem(run.person.get("/api/audit", **query), 400, "invalid_parameter")


def test_an_approval_that_nobody_decided_is_the_platforms(ingress):
    person = ingress.person()
    an_approval(person, seconds=-1.0)
    [approval] = of_kind(trail(person), "approval")
    assert (approval["state"], approval["by"]) == ("expired", "lightning")
