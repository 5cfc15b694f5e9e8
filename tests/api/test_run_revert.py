"""What a run committed is undone as one commit, once, and nobody else's work with it."""

import pytest

from tests.api.conftest import assert_problem
from tests.api.runs import GoingRun, repository_of, working
from tests.api.test_run_workspace import put, read, repo_of, write


@pytest.fixture
def run(person):
    return working(person, *repository_of(person))


def revert(run, person=None):
    return (person or run.person).request("POST", f"/api/runs/{run.id}/revert")


def commits(run):
    return run.person.get(f"/api/repos/{repo_of(run)}/log").json()["commits"]


def test_it_is_undone_once_and_others_work_is_kept(run):
    # Given a run's commit, and somebody's behind it
    put(run, {"a.txt": "ONE\n", "new.txt": "n"})
    write(run.person, repo_of(run), "later.txt", "x")
    # When it is undone, twice
    undone, again = revert(run).json(), revert(run).json()
    # Then one commit did so, and what came later is there
    assert (undone["created"], again) == (True, {"commit": undone["commit"], "created": False})
    [latest, *others] = commits(run)
    assert (latest["id"], latest["reverts"], latest["runID"]) == (undone["commit"], run.id, None)
    assert latest["author"] == run.person.username
    assert len(others) == 3
    files = run.person.get(f"/api/repos/{repo_of(run)}/files").json()["files"]
    assert [each["path"] for each in files] == ["a.txt", "b.txt", "later.txt"]
    assert (read(run, "a.txt"), read(run, "b.txt")) == ("one\n", "two\n")


def test_what_others_built_on_is_named_and_kept(run):
    put(run, {"a.txt": "ONE\n", "b.txt": "TWO\n"})
    write(run.person, repo_of(run), "a.txt", "theirs\n")
    problem = assert_problem(revert(run), 409, "merge_conflict")
    assert "a.txt" in problem["detail"]
    assert "b.txt" not in problem["detail"]
    assert (read(run, "a.txt"), len(commits(run))) == ("theirs\n", 3)


def test_there_is_nothing_to_undo(run):
    assert_problem(revert(run), 409, "nothing_to_revert")
    assert_problem(revert(GoingRun(run.person)), 409, "nothing_to_revert")
    put(run, {"a.txt": "ONE\n"})
    run.person.request("DELETE", f"/api/repos/{repo_of(run)}")
    assert_problem(revert(run), 409, "nothing_to_revert")


def test_nobody_else_undoes_it(run):
    put(run, {"a.txt": "ONE\n"})
    assert_problem(revert(run, run.ingress.person()), 404, "not_found")
    assert len(commits(run)) == 2


def test_a_service_token_needs_the_scope_of_repositories(run):
    made = run.person.request(
        "POST", "/api/service-tokens", json={"name": "x", "scopes": ["events:read", "events:write"]}
    )
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    answer = run.ingress.http.post(f"/api/runs/{run.id}/revert", headers=headers)
    assert_problem(answer, 403, "scope_missing")


def test_a_run_is_shown_with_its_repository(run):
    # Given a run that is over, as the worker writes it down
    base = run.document["workspace"]["base"]
    made = put(run, {"a.txt": "ONE\n"}).json()["commit"]
    shown = run.person.get(f"/api/runs/{run.id}").json()
    assert (shown["repo"], shown["base"], shown["commit"]) == (repo_of(run), base, None)

    async def settle(runs, found):
        return await runs.settle(found, found.document["workspace"], made)

    run.change(settle)
    # Then it is shown with its repository, where it began, and what it committed
    shown = run.person.get(f"/api/runs/{run.id}").json()
    assert (shown["repo"], shown["base"], shown["commit"]) == (repo_of(run), base, made)
    # And one without shows nothing of the kind
    other = GoingRun(run.person)
    shown = run.person.get(f"/api/runs/{other.id}").json()
    assert (shown["repo"], shown["base"], shown["commit"]) == (None, None, None)
