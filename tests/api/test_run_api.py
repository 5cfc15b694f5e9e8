"""The run API from both sides: what a run is told, and what everybody else is refused."""

import stat
from contextlib import ExitStack

import pytest

from api.app import ROUTES, WEBSOCKETS
from api.run_api.socket_place import SocketPlace
from lightning.domain.run_tokens import mint
from lightning.domain.runs import Runs
from lightning.domain.tokens import TokenIssuer
from lightning.events import Draft, now_text
from lightning.ids import new_id
from lightning.log import EventLog
from tests.api.conftest import assert_problem, concrete, serving
from tests.api.runs import GoingRun, at_socket, listens, reset

OF_RUNS = [route for route in ROUTES if route.for_runs]
OTHERS = [route for route in ROUTES if not route.for_runs]


def names(routes):
    return [f"{route.method} {route.path}" for route in routes]


@pytest.fixture(scope="module")
def run(ingress):
    return GoingRun(ingress.person(), {"text": "hello"})


def test_a_run_is_told_what_it_is_for(run):
    answer = run.get("/run/task")
    assert answer.status_code == 200
    assert answer.json() == {"id": run.task["id"], "agent": "echo", "input": {"text": "hello"}, "repo": None}


def refused(answer, code):
    """Check that a token was refused; what speaks OpenAI's protocol too says so in its words besides."""
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == code


@pytest.mark.parametrize("route", OF_RUNS, ids=names(OF_RUNS))
class TestOfRuns:
    def test_no_token_and_no_other_token_will_do(self, ingress, route):
        # Given a person with a run, and every token that is not that of a run
        run = GoingRun(ingress.person())
        claims = ingress.issuer.verify(run.token, "run")
        scopes = ["events:read", "events:write"]
        made = run.person.request("POST", "/api/service-tokens", json={"name": "x", "scopes": scopes})
        named = {"lifetime_seconds": 60, "claims": claims.extra}
        tokens = {
            "user": run.person.token,
            "service": made.json()["token"],
            "stream": ingress.issuer.issue("stream", run.person.id, **named),
            "user with the claims of a run": ingress.issuer.issue("user", run.person.id, **named),
            "expired": ingress.issuer.issue("run", run.person.id, **{**named, "lifetime_seconds": 0}),
            "another's signature": TokenIssuer("k" * 32).issue("run", run.person.id, **named),
            "of another user": ingress.issuer.issue("run", ingress.person().id, **named),
            "of no run": ingress.issuer.issue("run", run.person.id, lifetime_seconds=60),
            "of a task": ingress.issuer.issue(
                "run", run.person.id, lifetime_seconds=60, claims={**claims.extra, "run": run.task["id"]}
            ),
            "no token": "x",
        }

        # Then none of them is accepted
        for kind, token in tokens.items():
            answer = run.request(route.method, concrete(route.path), token=token)
            assert answer.status_code == 401, kind
            refused(answer, "invalid_token")
        refused(ingress.http.request(route.method, concrete(route.path)), "token_missing")

        # And that of the run is: the request is looked at
        assert run.request(route.method, concrete(route.path)).status_code != 401

    def test_the_token_of_a_run_that_is_over_is_refused(self, ingress, route):
        run = GoingRun(ingress.person())
        run.end()
        refused(run.request(route.method, concrete(route.path)), "invalid_token")

    def test_the_token_of_a_cancelled_task_is_refused(self, ingress, route):
        # Given a cancelled task whose container nobody has stopped yet
        run = GoingRun(ingress.person())
        run.person.request("POST", f"/api/events/{run.task['id']}/cancel")
        refused(run.request(route.method, concrete(route.path)), "invalid_token")

    def test_the_token_of_an_earlier_start_is_refused(self, ingress, route):
        # Given a run that is started anew, since its task was given up and replayed
        run = GoingRun(ingress.person())
        run.change(reset)
        refused(run.request(route.method, concrete(route.path)), "invalid_token")
        assert run.request(route.method, concrete(route.path), token=run.minted()).status_code != 401

    def test_the_token_of_a_disabled_user_is_refused(self, ingress, route):
        run = GoingRun(ingress.person())
        with ingress.accounts() as made:
            made.run(made.accounts.set_disabled(run.person.username, disabled=True))
            ingress.catch_up(made.storage)
        refused(run.request(route.method, concrete(route.path)), "invalid_token")


def test_the_token_of_a_task_under_a_cancelled_root_is_refused(ingress):
    # Given a task that was recorded as what it follows from was cancelled, whose container has begun
    person = ingress.person()
    root = person.says("do something")
    person.request("POST", f"/api/events/{root['id']}/cancel")

    async def begun(storage):
        log = EventLog(storage)
        draft = Draft(new_id(), "worker.task", "tests", {"agent": "echo"}, now_text(), {})
        [task] = await log.append(person.id, [draft], cause=await log.get(person.id, root["id"]))
        return (await Runs(storage).open(task)).document

    with ingress.accounts() as made:
        token = mint(ingress.issuer, made.run(begun(made.storage)), 60)
        ingress.catch_up(made.storage)
    # Then its token is refused
    answer = ingress.http.get("/run/task", headers={"authorization": f"Bearer {token}"})
    assert_problem(answer, 401, "invalid_token")


@pytest.mark.parametrize("route", OTHERS, ids=names(OTHERS))
def test_the_token_of_a_run_opens_no_other_route(run, route):
    answer = run.request(route.method, concrete(route.path))
    if route.scope is None:
        # such as the health: what it answers to anybody
        assert answer.status_code == run.ingress.http.request(route.method, concrete(route.path)).status_code
    else:
        assert_problem(answer, 401, "invalid_token")


@pytest.mark.parametrize("path", [route.path for route in WEBSOCKETS])
def test_the_token_of_a_run_opens_no_websocket(run, path):
    opening = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    answer = run.request("GET", path, headers={**opening, "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg=="})
    assert_problem(answer, 401, "invalid_token")


class TestSocket:
    def test_only_its_owner_may_connect(self, ingress):
        with at_socket(ingress):
            assert stat.S_IMODE(ingress.settings.run_api_socket.stat().st_mode) == 0o600

    def test_it_serves_runs(self, ingress, run):
        with at_socket(ingress) as http:
            shown = {"authorization": f"Bearer {run.token}"}
            assert http.get("/run/task", headers=shown).json() == run.get("/run/task").json()
            assert_problem(http.get("/run/task"), 401, "token_missing")

    def test_it_serves_nothing_else(self, ingress, run):
        with at_socket(ingress) as http:
            # When a run asks there for whatever else the ingress has, as itself and as its user
            for token in (run.token, run.person.token):
                shown = {"authorization": f"Bearer {token}"}
                for route in OTHERS:
                    answer = http.request(route.method, concrete(route.path), headers=shown)

                    # Then there is no such thing
                    assert_problem(answer, 404, "not_found")
                for route in WEBSOCKETS:
                    opening = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
                    key = {"sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
                    answer = http.get(route.path, headers={**shown, **opening, **key})
                    assert_problem(answer, 404, "not_found")

    def test_one_that_was_left_behind_is_replaced(self, tmp_path):
        # Given a socket at which nobody listens, as a killed process leaves it, and its lock
        data = tmp_path / "data"
        data.mkdir()
        with SocketPlace(data / "run-api.sock") as place:
            assert place.take()
            place.listen().close()
            (data / "left").hardlink_to(data / "run-api.sock")
        (data / "left").rename(data / "run-api.sock")
        assert not listens(data / "run-api.sock")

        # When an ingress starts, then it serves there
        with serving(data) as ingress, at_socket(ingress) as http:
            assert http.get("/run/task").status_code == 401
        # And leaves nothing behind
        assert not (data / "run-api.sock").exists()

    def test_a_second_ingress_waits_until_the_first_is_gone(self, tmp_path):
        data = tmp_path / "data"
        with ExitStack() as both:
            # Given an ingress that serves a run
            first = both.enter_context(serving(data))
            run = GoingRun(first.person())
            shown = {"authorization": f"Bearer {run.token}"}
            with at_socket(first) as http:
                known = (data / "run-api.sock").stat().st_ctime_ns
                # When a second one starts on the same data directory
                with serving(data) as second:
                    assert second.http.get("/api/health").status_code == 200
                    # Then the first serves on
                    assert http.get("/run/task", headers=shown).status_code == 200
                    assert (data / "run-api.sock").stat().st_ctime_ns == known
                    # And when it stops, the second takes over
                    both.close()
                    with at_socket(second) as there:
                        assert there.get("/run/task", headers=shown).status_code == 200
