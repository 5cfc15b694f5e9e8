"""A run calls so often, and no more; nobody else feels it."""

import pytest

from api.run_rates import BURST_SECONDS, RunRateLimited, RunRates
from tests.api.conftest import assert_problem, serving
from tests.api.runs import GoingRun
from tests.memory_queue import Clock


def taken(rates: RunRates, run: str, most: int = 1000) -> int:
    """Count the calls that a run may make now."""
    for number in range(most):
        try:
            rates.count(run)
        except RunRateLimited:
            return number
    return most


def calls(call):
    """Call again and again, more often than a machine could be slow enough for."""
    return (call() for _ in range(100))


def test_after_a_burst_a_run_goes_on_at_its_rate():
    # Given a run that has made all the calls that it may make at once
    clock = Clock()
    rates = RunRates(10, now=clock)
    assert taken(rates, "run") == 10 * BURST_SECONDS
    # When time goes by, then it may make as many calls as came free, and others are not held back
    clock.now += 0.55
    assert taken(rates, "run") == 5
    assert taken(rates, "other") == 10 * BURST_SECONDS
    clock.now += 100
    assert taken(rates, "run") == 10 * BURST_SECONDS


def test_refused_calls_cost_nothing():
    clock = Clock()
    rates = RunRates(1, now=clock)
    for _ in range(3):
        taken(rates, "run")
    with pytest.raises(RunRateLimited) as refused:
        rates.count("run")
    assert refused.value.retry_after == 1
    clock.now += 1.01
    assert taken(rates, "run") == 1


def test_runs_that_were_silent_are_forgotten():
    clock = Clock()
    rates = RunRates(10, now=clock)
    for number in range(5000):
        rates.count(f"run {number}")
        clock.now += 0.01
    assert len(rates._full_at) < 1100


def test_a_run_that_calls_too_often_is_told_to_wait(tmp_path):
    # Given an ingress where runs may call once in a second
    with serving(tmp_path, LIGHTNING_RUN_CALLS_PER_SECOND="1") as ingress:
        run, other = GoingRun(ingress.person()), GoingRun(ingress.person())
        answers = [run.get("/run/task") for _ in range(BURST_SECONDS)]
        # When it calls more often, then it is refused and told when to come again, others are not
        assert [each.status_code for each in answers] == [200] * BURST_SECONDS
        refused = next(each for each in calls(lambda: run.get("/run/task")) if each.status_code != 200)
        assert_problem(refused, 429, "run_rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert other.get("/run/task").status_code == 200
        # And SDKs of OpenAI are told in their own words
        asked = {"model": "none", "messages": [{"role": "user", "content": "hello"}]}
        told = calls(lambda: run.post("/v1/chat/completions", asked))
        refused = next(each for each in told if each.status_code == 429)
        assert refused.json()["error"]["type"] == "requests"
