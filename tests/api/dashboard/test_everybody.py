"""What all users have, for operators: in one list, acted upon in each one's log, and for nobody else."""

from contextlib import contextmanager
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
from structlog.testing import capture_logs

from api.dashboard.app import OF_EVERYBODY
from lightning.domain.accounts import Accounts
from ops.chaos.installation import until
from tests.api.approvals import an_approval
from tests.api.conftest import serving
from tests.api.dashboard.browsing import answered, ended, text_of, visiting
from tests.api.runs import repository_of
from tests.api.test_schedules import at_the_end_of_the_calendar
from tests.api.test_tenancy import run_of, schedule_of, webhook_of

ERROR = {"code": "model_refused", "message": "out of luck"}

GET = [route.path for route in OF_EVERYBODY if "GET" in (route.methods or ())]


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("everybody") / "data") as it:
        yield it


@pytest.fixture(scope="module")
def two(ingress):
    """Two users with one of everything, each."""
    users = ingress.person(), ingress.person()
    for number, user in enumerate(users):
        answered(ingress, user, f"question {number}", f"answer {number}")
        dead = user.says(f"dead {number}")
        ended(ingress, user, dead["id"], "dead", error=ERROR)
        for make in (webhook_of, schedule_of, run_of, an_approval):
            make(user)
        repository_of(user, f"notes-{number}")
    return users


@contextmanager
def acts():
    """Give what the log of the platform tells of operators' acts in the block, once that is over."""
    told = []
    with capture_logs() as lines:
        yield told
    acted = [line for line in lines if line["event"] == "operator_acted"]
    told += [(line["operator"], line["user_id"], line["what"]) for line in acted]


@pytest.mark.parametrize(
    "path", ["/events", "/conversations", "/approvals", "/runs", "/schedules", "/dead", "/repos", "/webhooks"]
)
def test_an_operator_sees_all_in_one_list(two, operator, path):
    page = operator.page(f"/all{path}")
    for user in two:
        assert f'<a href="/dashboard/u/{user.id}/">{user.username}</a>' in page
        # what is listed leads to its owner's page of it, which is there
        link = page.partition(f'href="/dashboard/u/{user.id}{path.replace("/dead", "/events")}/')[2]
        assert link, f"nothing of {user.username}'s"
        name = link.partition('"')[0]
        operator.page(f"/u/{user.id}{path.replace('/dead', '/events')}/{name}")


def test_a_schedule_at_the_end_of_the_calendar_hides_no_others(ingress, two, operator):
    person = ingress.person()
    last = at_the_end_of_the_calendar(ingress, person)
    # Then the operator's list shows it with all the others, and its owner's pages show it
    page = operator.page("/all/schedules")
    assert all(f"/u/{user.id}/schedules/" in page for user in (*two, person))
    with visiting(person) as owner:
        assert last in owner.page("/schedules")
        assert "9999-12-31" in owner.page(f"/schedules/{last}")


def test_events_of_all_are_found_by_user_type_state_text_and_time(two, operator):
    def listed(**query):
        page = operator.page("/all/events", **query)
        return [number for number, user in enumerate(two) if f"/u/{user.id}/events/" in page]

    assert listed() == [0, 1]
    assert listed(user=two[0].username.upper()) == [0]
    assert listed(type="llm.chat.response") == [0, 1]
    assert listed(text="answer 1") == listed(type="llm.chat.response", text="R 1") == [1]
    assert listed(state="dead", text="dead 0") == [0]
    assert listed(since="2000-01-01T00:00", until="2100-01-01T00:00") == [0, 1]
    assert listed(since="2100-01-01T00:00") == listed(until="2000-01-01T00:00") == []
    assert operator.get("/all/events", user="nobody-here").status_code == 404
    for wrong in ({"since": "no"}, {"type": "no"}, {"page": "no"}):
        assert operator.get("/all/events", **wrong).status_code == 400
    assert operator.get("/all/dead", page="no").status_code == 400


def test_events_of_all_are_paged_newest_first_and_each_is_shown_once(ingress, two, operator):
    for start in range(0, 80, 40):
        for user in two:
            batch = [
                user.event(type="user.message", metadata={"content": f"say {start + number}."})
                for number in range(40)
            ]
            assert user.post(batch).status_code == 202
    for filters in ({}, {"type": "user.message"}):
        seen, query = [], filters
        while query is not None:
            page = operator.page("/all/events", **query)
            seen += [line for line in page.splitlines() if "say " in line]
            older = page.partition('aria-label="More events"><a href="')[2].partition('"')[0]
            query = dict(parse_qsl(urlsplit(unescape(older)).query)) if older else None
        assert len(seen) == len(set(seen)) == 160


def test_the_overview_of_all_counts_and_changes_at_once(ingress, two, operator):
    page = operator.page("/all/")
    assert "users together" in page
    assert "out of luck" in page
    assert "The queue has" in text_of(page)
    before = int(page.partition('id="count-dead">')[2].partition("<")[0])
    seen = page.partition("seen=")[2].partition('"')[0]
    lost = two[0].says("lost")
    ended(ingress, two[0], lost["id"], "dead", error={"code": "x", "message": "a new one"})
    # Then the next look tells of it, within the second for which an answer is kept
    until(lambda: "a new one" in operator.get("/all/live", seen=seen).text, "it is told", seconds=10)
    changed = operator.page("/all/")
    assert f'id="count-dead">{before + 1}<' in changed


def test_dead_events_of_several_users_are_settled_at_once(ingress, two, operator):
    lost = [(user, user.says("lost again")["id"]) for user in two]
    for user, event in lost:
        ended(ingress, user, event, "dead", error=ERROR)
    named = [f"{user.id}/{event}" for user, event in lost]
    assert all(f'value="{each}"' in operator.page("/all/dead") for each in named)
    # one that is under way and one that is none are left alone
    going = two[0].says("going on")["id"]
    with acts() as told:
        operator.post("/all/dead", do="replay", event=[named[0], f"{two[0].id}/{going}", "nothing", "a/b/c"])
        operator.post("/all/dead", do="discard", event=[named[1], f"{two[1].id}/{lost[0][1]}"])
    states = [user.get(f"/api/events/{event}").json()["state"] for user, event in lost]
    assert states == ["accepted", "cancelled"]
    page = operator.page("/all/dead")
    assert not any(each in page for each in named)
    # and the log of the platform tells who did what to whom
    expected = zip(lost, ("replay", "discard"), strict=True)
    assert told == [
        (operator.person.id, user.id, f"/dashboard/all/dead {do} {event}") for (user, event), do in expected
    ]


def test_what_an_operator_does_to_one_user_is_told_in_the_log(two, operator):
    event, own = two[0].says("to be cancelled")["id"], operator.person.says("my own")["id"]
    path = f"/u/{two[0].id}/events/{event}/cancel"
    with acts() as told:
        operator.post(path)
        operator.post(f"/events/{own}/cancel")
    assert told == [(operator.person.id, two[0].id, f"/dashboard{path}")]


@pytest.mark.parametrize("path", GET)
def test_users_have_no_such_page(two, ingress, path):
    with visiting(two[0]) as user:
        answer = user.get(f"/all{path}")
        assert answer.status_code == 404
        assert two[1].username not in answer.text
        assert "/dashboard/all" not in user.page("/")


def test_a_user_settles_nothing_of_others(ingress, two):
    event = two[1].says("mine")["id"]
    ended(ingress, two[1], event, "dead", error=ERROR)
    with visiting(two[0]) as user:
        answer = user.post("/all/dead", do="discard", event=f"{two[1].id}/{event}")
        assert answer.status_code == 404
    assert two[1].get(f"/api/events/{event}").json()["state"] == "dead"


def test_who_is_no_operator_any_more_loses_the_pages_at_once(ingress, two):
    with visiting(ingress.person(role="operator")) as once:
        assert once.get("/all/events").status_code == 200
        with ingress.accounts() as beside:
            accounts: Accounts = beside.accounts
            beside.run(accounts.set_role(once.person.username, "user"))
            ingress.catch_up(beside.storage)
        for path in (*(f"/all{path}" for path in GET), f"/u/{two[0].id}/", "/users"):
            assert once.get(path).status_code == 404, path
        assert once.get("/").status_code == 200
