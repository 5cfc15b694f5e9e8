"""The client of agents: what it sends, and how it bears a platform that is away."""

import json

import pytest

from agents.run_api import RunApi, RunApiError


@pytest.fixture
def api(platform):
    return RunApi(f"http://127.0.0.1:{platform.server_port}/base/", "token")


def test_it_says_who_it_is_and_what_it_wants(platform, api):
    platform.answers += [
        (200, {"input": 1}),
        (200, {}),
        (201, {"id": "q"}),
        (200, {"messages": [{"number": 4}]}),
    ]
    assert api.task() == {"input": 1}
    api.result({"files": 12}, "12 files")
    assert api.ask("Which?", ["a", "b"], key="k") == "q"
    assert api.messages(3, wait_seconds=2) == [{"number": 4}]
    assert platform.requests == [
        ("GET", "/base/run/task", "Bearer token", None),
        ("POST", "/base/run/result", "Bearer token", {"output": {"files": 12}, "message": "12 files"}),
        (
            "POST",
            "/base/run/questions",
            "Bearer token",
            {"question": "Which?", "options": ["a", "b"], "key": "k"},
        ),
        ("GET", "/base/run/messages?after=3&wait=2", "Bearer token", None),
    ]


def test_it_starts_tasks_and_waits_for_all_of_them(platform, api):
    # Given a platform that starts two tasks, the first of which goes on for a while
    platform.answers += [
        (201, {"ids": ["a", "b"]}),
        (200, {"state": "accepted", "result": None}),
        (200, {"state": "done", "result": {"status": "succeeded"}}),
        (200, {"state": "done", "result": {"status": "failed"}}),
        (201, {"ids": ["g"]}),
    ]
    tasks = [{"agent": "echo", "input": 1}, {"agent": "echo", "input": 2}]
    # When they are started and joined
    ids = api.start_tasks(tasks, key="k")
    assert api.join(ids) == [{"status": "succeeded"}, {"status": "failed"}]
    # Then each is waited for, and a group is started likewise
    assert api.start_group({"tasks": tasks}) == "g"
    assert platform.requests == [
        ("POST", "/base/run/tasks", "Bearer token", {"tasks": tasks, "key": "k"}),
        ("GET", "/base/run/tasks/a?wait=20", "Bearer token", None),
        ("GET", "/base/run/tasks/a?wait=20", "Bearer token", None),
        ("GET", "/base/run/tasks/b?wait=20", "Bearer token", None),
        ("POST", "/base/run/tasks", "Bearer token", {"group": {"tasks": tasks}, "key": None}),
    ]


@pytest.mark.parametrize("away", [(None, None), (503, {"detail": "later"}), (502, {})])
def test_a_platform_that_is_away_is_asked_again_for_the_same(platform, api, away):
    # Given a platform that takes a question on the third attempt
    platform.answers += [away, away, (201, {"id": "q"})]
    assert api.ask("Which?") == "q"
    # Then it was the same question each time
    [body] = {json.dumps(request[3], sort_keys=True) for request in platform.requests}
    assert json.loads(body)["key"]
    assert len(platform.requests) == 3


def test_what_is_refused_is_not_asked_again(platform, api):
    platform.answers += [(401, {"code": "invalid_token", "detail": "the run is over"})]
    with pytest.raises(RunApiError, match="the run is over") as caught:
        api.progress("x")
    assert (caught.value.status, caught.value.code) == (401, "invalid_token")


def test_patience_has_an_end():
    with pytest.raises(RunApiError, match="not there"):
        RunApi("http://127.0.0.1:9", "token", patience_seconds=0.3).progress("x")
