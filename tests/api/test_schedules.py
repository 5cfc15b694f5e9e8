"""`/api/schedule` and `/api/schedules`: what can be said, what is told, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.schedules import Schedules
from lightning.domain.when import Policies, When
from lightning.ids import new_id
from tests.api.conftest import Person

MESSAGE = {"type": "user.message", "metadata": {"content": "good morning"}}


def schedule(person: Person, *, headers=None, **form):
    form.setdefault("event", MESSAGE)
    return person.request("POST", "/api/schedule", json=form, headers=headers)


def made(person: Person, **form):
    answer = schedule(person, **form)
    assert answer.status_code == 201, answer.text
    return answer.json()


def at(person: Person, id: str, action: str = "", method: str = "POST", **options):
    return person.request(method, f"/api/schedules/{id}{action}", **options)


def at_the_end_of_the_calendar(ingress, person: Person) -> str:
    """Store a schedule that is refused by now: when it fires, its clocks are beyond the calendar."""
    draft = Schedule(
        id=new_id(),
        user_id=person.id,
        event=Scheduled("user.message", "test", {"content": "at last"}),
        when=When.model_validate({"timestamp": "9999-12-31T23:59:59Z", "timezone": "Pacific/Kiritimati"}),
        said_at=datetime.now(UTC),
        policies=Policies(),
    )
    with ingress.accounts() as beside:
        beside.run(Schedules(beside.storage).create(draft))
        ingress.catch_up(beside.storage)
    return draft.id


def test_a_schedule_is_told_with_its_next_five_fires(person):
    # When somebody schedules a message for nine on weekdays
    answer = schedule(
        person, cron="0 9 * * mon-fri", timezone="Europe/Berlin", description="wake me", overlap="queue"
    )
    # Then they hear when it fires, by their clocks
    told = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/schedules/{told['id']}"
    fires = [datetime.fromisoformat(each) for each in told["nextFires"]]
    assert len(fires) == 5
    assert all((each.hour, each.weekday() < 5) == (9, True) for each in fires)
    assert all(each.utcoffset() in {timedelta(hours=1), timedelta(hours=2)} for each in fires)
    assert fires == sorted(set(fires))
    assert fires[0] > datetime.now(UTC)
    # And find it again, with what it is
    found = at(person, told["id"], method="GET").json()
    assert found == {**told, "fires": []}
    assert found["event"] == {**MESSAGE, "source": "schedule"}
    assert (found["overlap"], found["catchUp"], found["state"]) == ("queue", "latest", "active")
    [listed] = person.get("/api/schedules").json()["schedules"]
    assert listed == {**told, "nextFires": told["nextFires"][:1]}


def test_once_and_over_and_over(person):
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    assert made(person, timestamp=in_an_hour.isoformat())["nextFires"] == [
        in_an_hour.isoformat().replace("+00:00", "Z")
    ]
    fires = made(person, every="PT15M", startAt=in_an_hour.isoformat())["nextFires"]
    assert [datetime.fromisoformat(each) - in_an_hour for each in fires] == [
        timedelta(minutes=15 * n) for n in range(5)
    ]


@pytest.mark.parametrize(
    ("form", "code", "pointer", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "invalid_field", "/cron", "an example"),
        ({"cron": 5}, "invalid_field", "/cron", "an example"),
        ({"every": 1}, "invalid_field", "/every", "an example"),
        ({"every": "P1M"}, "invalid_field", "/every", "examples"),
        ({"timestamp": "soon"}, "invalid_field", "/timestamp", "such as"),
        ({"timestamp": "2020-01-01T00:00:00Z"}, "never_fires", "/timestamp", "an example"),
        (
            {"timestamp": "9999-12-31T23:59:59Z", "timezone": "Pacific/Kiritimati"},
            "invalid_field",
            "/timestamp",
            "an example",
        ),
        ({"timestamp": "9999-12-31T23:59:59Z", "jitter": 86400}, "invalid_field", "/timestamp", "an example"),
        ({"every": 10, "startAt": "0001-01-01T00:00:00Z"}, "invalid_field", "/startAt", "an example"),
        (
            {"cron": "59 23 31 12 *", "startAt": "9999-12-30T23:59:59Z", "jitter": 60},
            "invalid_field",
            "/startAt",
            "an example",
        ),
        ({"every": 10, "endAt": "9001-01-01T00:00:00Z"}, "invalid_field", "/endAt", "an example"),
        ({"cron": "@daily", "endAt": "2020-01-01T00:00:00Z"}, "never_fires", "/endAt", "an example"),
        ({"cron": "@daily", "timezone": "Berlin"}, "invalid_field", "/timezone", "examples"),
        ({"cron": "@daily", "overlap": "both"}, "invalid_field", "/overlap", "'queue'"),
        ({"cron": "@daily", "color": "red"}, "invalid_field", "/color", "not permitted"),
        ({}, "invalid_field", None, "exactly one of timestamp, cron and every"),
        ({"cron": "@daily", "every": 60}, "invalid_field", None, "exactly one"),
        ({"cron": "@daily", "event": {"type": "no.such", "metadata": {}}}, "unknown_type", "/event/type", ""),
        (
            {"cron": "@daily", "event": {"type": "user.message", "metadata": {"content": ""}}},
            "invalid_field",
            "/event/metadata/content",
            "",
        ),
    ],
)
def test_what_is_wrong_is_named(person, form, code, pointer, words):
    answer = schedule(person, **form)
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["code"], problem.get("pointer") or None) == (code, pointer)
    assert words in problem["detail"]
    assert person.get("/api/schedules").json()["schedules"] == []


def test_nobody_schedules_in_anothers_name_nor_what_only_the_platform_posts(ingress, person):
    other = ingress.person()
    answer = schedule(person, cron="@daily", event={**MESSAGE, "userID": other.id})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_user")
    tick = {"scheduleID": "x", "slot": "x", "plannedAt": "x", "revision": 1, "reason": "due"}
    answer = schedule(person, cron="@daily", event={"type": "schedule.tick", "metadata": tick})
    assert (answer.status_code, answer.json()["code"]) == (403, "platform_event")
    mine = made(person, cron="@daily")
    answer = at(person, mine["id"], method="PATCH", json={"event": {**MESSAGE, "userID": other.id}})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_user")
    assert other.get("/api/schedules").json()["schedules"] == []


def test_a_program_schedules_only_what_it_may_post(person):
    def with_scopes(*scopes, event=MESSAGE):
        form = {"name": "program", "scopes": list(scopes)}
        token = person.request("POST", "/api/service-tokens", json=form).json()["token"]
        return schedule(person, cron="@daily", event=event, headers={"authorization": f"Bearer {token}"})

    assert with_scopes("events:write").status_code == 403
    assert with_scopes("schedules:write").status_code == 403
    assert with_scopes("schedules:write", "events:write").status_code == 201
    task = {"type": "worker.task", "metadata": {"agent": "echo", "repo": "notes"}}
    assert with_scopes("schedules:write", "events:write", event=task).status_code == 403
    assert with_scopes("schedules:write", "events:write", "repos:write", event=task).status_code == 201


def test_the_same_key_is_the_same_schedule(ingress, person):
    key = {"idempotency-key": "once"}
    first = schedule(person, cron="@daily", headers=key)
    assert schedule(person, cron="@daily", headers=key).json() == first.json()
    other = schedule(person, cron="@weekly", headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "id_taken")
    # another's key is another one
    assert schedule(ingress.person(), cron="@daily", headers=key).json()["id"] != first.json()["id"]
    assert len(person.get("/api/schedules").json()["schedules"]) == 1


def test_a_change_holds_from_now_on(person):
    mine = made(person, cron="@daily", timezone="Asia/Tokyo", description="before")
    # When a part of it is changed
    changed = at(person, mine["id"], method="PATCH", json={"every": 60, "description": None}).json()
    # Then the rest stays
    assert (changed["cron"], changed["every"], changed["timezone"]) == (None, 60, "Asia/Tokyo")
    assert (changed["description"], changed["event"]) == (None, mine["event"])
    assert len(changed["nextFires"]) == 5
    # And what contradicts the rest changes nothing
    for wrong, code in [
        ({"startAt": "2030-01-01T00:00:00Z", "endAt": "2029-01-01T00:00:00Z"}, "invalid_field"),
        ({"timestamp": "2020-01-01T00:00:00Z"}, "never_fires"),
        ({"every": None}, "invalid_field"),
        ({"every": 10, "startAt": "0001-01-01T00:00:00Z"}, "invalid_field"),
        ({"timestamp": "9999-12-31T23:59:59Z", "every": None, "jitter": 86400}, "invalid_field"),
        ({"event": {**MESSAGE, "metadata": {}}}, "invalid_field"),
    ]:
        answer = at(person, mine["id"], method="PATCH", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, code), wrong
    assert at(person, mine["id"], method="GET").json() == {**changed, "fires": []}


@pytest.mark.parametrize(
    "when",
    [
        {"timestamp": "9000-12-31T23:59:59Z", "timezone": "Pacific/Kiritimati", "jitter": 86400},
        {"every": 10, "startAt": "1900-01-01T00:00:00Z", "jitter": 10},
        {"every": "P366D", "startAt": "9000-12-31T23:59:59Z", "jitter": 86400},
        {"cron": "59 23 31 12 *", "startAt": "9000-12-31T23:59:59Z", "jitter": 86400},
        {"cron": "0 0 29 2 *", "startAt": "9000-12-31T23:59:59Z", "timezone": "Pacific/Kiritimati"},
    ],
)
def test_the_first_and_the_last_years_have_room_on_all_clocks(person, when):
    # When somebody names a moment at the edge of the years that there are
    answer = schedule(person, **when)
    # Then it is taken and shown
    assert answer.status_code == 201, answer.text
    [listed] = person.get("/api/schedules").json()["schedules"]
    assert listed["nextFires"] == answer.json()["nextFires"][:1] != []


def test_what_was_stored_at_the_end_of_the_calendar_is_shown_and_changed(ingress, person):
    # Given a schedule of former times, and another one
    last = at_the_end_of_the_calendar(ingress, person)
    other = made(person, cron="@daily")
    # Then both are told, the one without its fires
    listed = {each["id"]: each for each in person.get("/api/schedules").json()["schedules"]}
    assert listed.keys() == {last, other["id"]}
    assert (listed[last]["timestamp"], listed[last]["nextFires"]) == ("9999-12-31T23:59:59Z", [])
    assert at(person, last, method="GET").status_code == 200
    # And it is paused, resumed and changed as any other
    assert at(person, last, "/pause").json()["state"] == "paused"
    assert at(person, last, "/resume").json()["state"] == "active"
    renamed = at(person, last, method="PATCH", json={"description": "late"}).json()
    assert (renamed["description"], renamed["timestamp"]) == ("late", "9999-12-31T23:59:59Z")
    moved = at(person, last, method="PATCH", json={"timezone": "UTC"}).json()
    assert moved["nextFires"] == ["9999-12-31T23:59:59Z"]


def test_what_is_paused_fires_nothing_until_it_is_resumed(person):
    mine = made(person, cron="@daily")
    paused = at(person, mine["id"], "/pause").json()
    assert (paused["state"], paused["nextFires"]) == ("paused", [])
    changed = at(person, mine["id"], method="PATCH", json={"cron": "@hourly"}).json()
    assert (changed["state"], changed["nextFires"]) == ("paused", [])
    resumed = at(person, mine["id"], "/resume").json()
    assert (resumed["state"], len(resumed["nextFires"])) == ("active", 5)


def test_what_is_deleted_is_gone(person):
    mine = made(person, cron="@daily")
    assert at(person, mine["id"], method="DELETE").status_code == 204
    for method, action in [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("GET", "/fires")]:
        assert at(person, mine["id"], action, method=method).status_code == 404
    assert person.get("/api/schedules").json() == {"schedules": [], "next": None}


def test_what_is_due_soon_is_handed_over_at_once(person):
    # Given schedules whose slots come before each clock has surely looked, and one that comes later
    soon = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    once = made(person, timestamp=soon)
    changed = made(person, cron="@yearly")
    resumed = made(person, timestamp=soon)
    far = made(person, timestamp=late)
    at(person, changed["id"], method="PATCH", json={"timestamp": soon})
    at(person, resumed["id"], "/pause")
    at(person, resumed["id"], "/resume")
    # Then their ticks wait for them, one each, and they stand as they were
    for mine in (once, changed, resumed):
        shown = at(person, mine["id"], method="GET").json()
        assert [each["outcome"] for each in shown["fires"]] == ["waiting"]
        assert (shown["state"], shown["fired"], len(shown["nextFires"])) == ("active", 0, 1)
    assert at(person, far["id"], method="GET").json()["fires"] == []


def test_a_list_comes_in_pages(person):
    all_of_them = {made(person, cron="@daily")["id"] for _ in range(5)}
    seen, page = [], {}
    while True:
        answer = person.get("/api/schedules", limit=2, **page).json()
        seen += [each["id"] for each in answer["schedules"]]
        if answer["next"] is None:
            break
        page = {"page": answer["next"]}
    assert len(seen) == 5
    assert set(seen) == all_of_them
    assert person.get("/api/schedules", page="nonsense").status_code == 400


def test_one_user_has_so_many_and_no_more(ingress, person, monkeypatch):
    # Given an ingress where each may have two
    before = ingress.platform.schedules
    monkeypatch.setattr(ingress.platform, "schedules", Schedules(before.storage, 2))
    first = made(person, cron="@daily")
    made(person, cron="@daily")
    # When somebody makes a third one
    answer = schedule(person, cron="@daily")
    # Then it is refused, to them alone
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_schedules")
    made(ingress.person(), cron="@daily")
    # And paused ones count, deleted ones do not
    at(person, first["id"], "/pause")
    assert schedule(person, cron="@daily").status_code == 409
    at(person, first["id"], method="DELETE")
    made(person, cron="@daily")


def test_an_id_of_something_else_is_no_schedule(person):
    made(person, cron="@daily")
    for other in ("count", new_id()):
        assert at(person, other, method="GET").status_code == 404
        assert at(person, other, method="DELETE").status_code == 404


def test_a_schedule_fires_now_when_asked(ingress, person):
    mine = made(person, cron="@daily")
    # When it is asked for twice under one key, and once more
    answers = [at(person, mine["id"], "/run", headers={"idempotency-key": key}) for key in ("a", "a", "b")]
    assert [answer.status_code for answer in answers] == [202] * 3
    ticks = [answer.json() for answer in answers]
    # Then two ticks stand in the log, and among its fires, the newest first
    assert ticks[0] == ticks[1]
    fires = at(person, mine["id"], method="GET").json()["fires"]
    assert [each["id"] for each in fires] == [ticks[2]["id"], ticks[0]["id"]]
    assert {(each["reason"], each["outcome"]) for each in fires} == {("now", "waiting")}
    page = at(person, mine["id"], "/fires", method="GET", params={"limit": 1}).json()
    assert page == {"fires": fires[:1], "next": fires[0]["seq"]}
    assert at(ingress.person(), mine["id"], "/run").status_code == 404


def test_slots_of_the_past_are_asked_for_once_more(person):
    mine = made(person, cron="@daily")
    span = {"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-01-31T00:00:00Z"}
    answer = at(person, mine["id"], "/backfill", json=span)
    assert answer.status_code == 202
    assert answer.json()["metadata"] == {"scheduleID": mine["id"], **span, "overlap": "queue"}
    for wrong, code, pointer in [
        ({"endAt": "2999-01-01T00:00:00Z"}, "invalid_field", "/endAt"),
        ({"endAt": "2025-12-31T23:59:59Z"}, "invalid_field", "/endAt"),
        ({"startAt": "2020-01-01T00:00:00Z"}, "too_many_slots", "/startAt"),
        ({"startAt": "0001-01-01T00:00:00Z", "endAt": "0001-01-03T00:00:00Z"}, "invalid_field", "/startAt"),
        ({"overlap": "never"}, "invalid_field", "/overlap"),
    ]:
        problem = at(person, mine["id"], "/backfill", json={**span, **wrong}).json()
        assert (problem["code"], problem["pointer"]) == (code, pointer)
