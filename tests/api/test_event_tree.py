"""The tree of an event: whoever of it is named, all of it, in order, and page by page."""

import pytest

from lightning.events import Draft, now_text
from lightning.log import EventLog
from tests.api.conftest import assert_problem
from tests.api.runs import GoingRun


@pytest.fixture(scope="module")
def run(ingress):
    """Give a run that goes on, whose task three messages follow from, and another task beside it."""
    run = GoingRun(ingress.person(), name="summary")
    with ingress.accounts() as made:
        log = EventLog(made.storage)
        drafts = [Draft(f"m{n}", "user.message", "t", {"content": "x"}, now_text(), {}) for n in range(3)]
        made.run(log.append(run.person.id, drafts, cause=run.event()))
        ingress.catch_up(made.storage)
    GoingRun(run.person)
    return run


def tree(run, event, **query):
    answer = run.person.get(f"/api/events/{event}/tree", **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_any_event_of_it_gives_the_whole_tree(run):
    # When the tree is asked for by its root, or by what followed
    found = tree(run, run.task["id"])
    assert tree(run, "m2") == found
    # Then it is there in order, without what is of another root
    assert found["root"] == run.task["id"]
    assert found["next"] is None
    assert [each["id"] for each in found["events"]] == [run.task["id"], "m0", "m1", "m2"]
    assert [each["cause"] for each in found["events"]] == [None, *[run.task["id"]] * 3]
    # And a task tells what it is called, and where its run stands
    first, second = found["events"][:2]
    assert (first["name"], first["state"], first["seconds"]) == ("summary", "accepted", None)
    assert first["run"] == {"id": run.id, "status": "running"}
    assert (second["name"], second["run"]) == (None, None)


def test_it_comes_in_pages(run):
    first = tree(run, run.task["id"], limit=3)
    assert [each["id"] for each in first["events"]] == [run.task["id"], "m0", "m1"]
    rest = tree(run, run.task["id"], limit=3, after=first["next"])
    assert ([each["id"] for each in rest["events"]], rest["next"]) == (["m2"], None)


def test_what_is_over_tells_how_long_it_took(ingress):
    run = GoingRun(ingress.person())
    assert run.person.request("POST", f"/api/events/{run.task['id']}/cancel").status_code == 200
    [task, result] = tree(run, run.task["id"])["events"]
    assert (task["state"], task["run"]["status"], result["status"]) == ("cancelled", *["cancelled"] * 2)
    assert 0 <= task["seconds"] < 600
    assert task["endedAt"] >= task["recordedAt"]


@pytest.mark.parametrize(("query", "status"), [({"limit": 201}, 400), ({"after": "x"}, 400)])
def test_wrong_questions_are_refused(run, query, status):
    answer = run.person.get(f"/api/events/{run.task['id']}/tree", **query)
    assert_problem(answer, status, "invalid_parameter")
