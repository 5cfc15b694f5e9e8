"""What is done on the pages: dead letters, schedules, runs, webhooks, users."""

import pytest

from tests.api.dashboard.browsing import ended, text_of, visiting
from tests.api.runs import GoingRun, repository_of, working

ERROR = {"code": "model_refused", "message": "no <b>thanks</b>"}


@pytest.mark.parametrize(
    "path", ["/conversations", "/approvals", "/runs", "/schedules", "/dead", "/repos", "/webhooks"]
)
def test_who_has_none_is_told_what_to_do_first(visitor, path):
    assert 'class="empty"' in visitor.page(path)


def test_dead_events_are_replayed_or_discarded_several_at_a_time(ingress, visitor):
    person = visitor.person
    ids = [person.says(f"number {number}")["id"] for number in range(4)]
    for event in ids[:3]:
        ended(ingress, person, event, "dead", error=ERROR)
    page = visitor.page("/dead")
    assert all(f"number {number}" in page for number in range(3))
    assert "number 3" not in page
    assert "no &lt;b&gt;thanks&lt;/b&gt;" in page

    # one that is under way, and one that is none, are left alone
    visitor.post("/dead", do="replay", event=[ids[0], ids[1], ids[3], "nothing"])
    assert [person.get(f"/api/events/{each}").json()["state"] for each in ids] == ["accepted"] * 2 + [
        "dead",
        "accepted",
    ]
    answer = visitor.post("/dead", do="discard", event=[ids[2], ids[3]])
    assert 'class="empty"' in answer.text
    discarded = person.get(f"/api/events/{ids[2]}").json()
    assert (discarded["state"], discarded["error"]) == ("cancelled", ERROR)
    counts = visitor.page("/")
    assert '<b id="count-dead">0</b>' in counts
    assert '<b id="count-cancelled">1</b>' in counts
    assert visitor.post("/dead").status_code == 200, "nothing was ticked"
    # all of a page are replayed without a tick
    for event in ids[:2]:
        ended(ingress, person, event, "dead", error=ERROR)
    assert "Replay all 2 shown" in visitor.page("/dead")
    visitor.post("/dead", do="replay all", shown=ids[:2])
    assert [person.get(f"/api/events/{each}").json()["state"] for each in ids[:2]] == ["accepted"] * 2


def test_dead_events_of_others_are_left_alone(ingress, visitor):
    event = visitor.person.says("mine")["id"]
    ended(ingress, visitor.person, event, "dead", error=ERROR)
    with visiting(ingress.person()) as other:
        for do in ("replay", "discard"):
            other.post("/dead", do=do, event=event)
    assert visitor.person.get(f"/api/events/{event}").json()["state"] == "dead"


def test_a_schedule_is_paused_resumed_and_fired(visitor):
    event = {"type": "user.message", "metadata": {"content": "hello"}}
    made = visitor.person.request("POST", "/api/schedule", json={"cron": "@yearly", "event": event})
    path = f"/schedules/{made.json()['id']}"
    assert made.json()["nextFires"][4] in visitor.page(path)
    assert ">paused<" in visitor.post(f"{path}/pause").text
    assert ">active<" in visitor.post(f"{path}/resume").text
    answer = visitor.post(f"{path}/run")
    assert "waiting" in text_of(answer.text).partition("History")[2]


def test_a_run_is_followed_and_cancelled(visitor):
    run = GoingRun(visitor.person, timeoutSeconds=77)
    page = visitor.page(f"/runs/{run.id}")
    assert "77" in page
    assert ">running<" in page

    async def print_line(runs, found):
        line = b"<i>line</i>\n"
        return await runs.append(found, line, found.document["log"]["bytes"] + len(line))

    assert visitor.get(f"/runs/{run.id}/log", offset=0).status_code == 204
    run.change(print_line)
    answer = visitor.get(f"/runs/{run.id}/log", offset=0)
    assert answer.text.startswith("<span>&lt;i&gt;line&lt;/i&gt;\n</span>")
    assert "offset=12" in answer.text
    assert visitor.get(f"/runs/{run.id}/log", offset=12).status_code == 204

    assert visitor.post(f"/runs/{run.id}/cancel").status_code == 200
    assert visitor.person.get(f"/api/events/{run.task['id']}").json()["state"] == "cancelled"
    assert "hx-get" not in visitor.get(f"/runs/{run.id}/log", offset=12).text


def test_what_a_run_changed_is_shown_and_reverted(visitor):
    repo, base = repository_of(visitor.person)
    run = working(visitor.person, repo, base)
    assert "no file yet" in visitor.page(f"/runs/{run.id}")
    new = {"message": "m", "files": [{"path": "a.txt", "text": "<u>two</u>\n"}], "runID": run.id}
    commits = f"/api/repos/{repo}/commits"
    answer = visitor.person.request("POST", commits, json={k: v for k, v in new.items() if k != "runID"})
    commit = answer.json()["commit"]

    async def settle(runs, found):
        return await runs.settle(found, found.document["workspace"], commit)

    run.change(settle)
    page = visitor.page(f"/runs/{run.id}")
    assert '<span class="added">+&lt;u&gt;two&lt;/u&gt;</span>' in page
    assert '<span class="removed">-one</span>' in page
    # this commit is a person's, not the run's, so there is nothing to undo
    assert visitor.post(f"/runs/{run.id}/revert").status_code == 409


def test_a_repository_is_browsed(visitor):
    repo, _ = repository_of(visitor.person, files={"a <b>.txt": "<script>alert(1)</script>\n"})
    page = visitor.page(f"/repos/{repo}")
    assert "a &lt;b&gt;.txt" in page
    shown = visitor.page(f"/repos/{repo}/file", path="a <b>.txt")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    commit = visitor.person.get(f"/api/repos/{repo}/log").json()["commits"][0]["id"]
    assert "+&lt;script&gt;" in visitor.page(f"/repos/{repo}/commits/{commit}")
    assert visitor.get(f"/repos/{repo}/file", path="../x").status_code in {400, 404}
    empty, _ = repository_of(visitor.person, "empty", files={})
    assert 'class="empty"' in visitor.page(f"/repos/{empty}")


def test_a_webhook_is_tried_and_a_delivery_repeated(visitor):
    made = visitor.person.request("POST", "/api/webhooks", json={"url": "https://example.com/", "name": "w"})
    path = f"/webhooks/{made.json()['id']}"
    assert made.json()["secret"] not in visitor.page(path)
    answer = visitor.post(f"{path}/test")
    delivery = visitor.person.get(f"/api{path}/deliveries").json()["deliveries"][0]["id"]
    assert f"deliveries/{delivery}/redeliver" in answer.text
    visitor.post(f"{path}/deliveries/{delivery}/redeliver")
    newest = visitor.person.get(f"/api{path}/deliveries").json()["deliveries"][0]
    assert newest["redeliveryOf"] == delivery


def test_a_conversation_is_read(visitor):
    event = visitor.person.says("<b>hello</b>")
    path = f"/conversations/{event['metadata']['conversationID']}"
    assert path in visitor.page("/conversations")
    page = visitor.page(path)
    assert "&lt;b&gt;hello&lt;/b&gt;" in page
    assert "have no answer yet" in page


def test_operators_disable_and_enable_users(operator, visitor):
    name = visitor.person.username
    page = operator.page("/users")
    assert name in page
    assert "Limits" in page
    answer = operator.post(f"/users/{visitor.person.id}/disable")
    assert f"Enable {name}" in answer.text
    assert visitor.get("/").url.path == "/dashboard/login"
    assert operator.post(f"/users/{operator.person.id}/disable").status_code == 409
    operator.post(f"/users/{visitor.person.id}/enable")
    assert visitor.log_in().url.path == "/dashboard/"
