"""The overview: empty, counting, live."""

import pytest

from tests.api.conftest import serving
from tests.api.dashboard.browsing import answered, ended, text_of

PRICES = '{"dear": {"input": 1000, "output": 2000}}'


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("overview") / "data", LIGHTNING_MODEL_PRICES=PRICES) as it:
        yield it


def test_who_has_nothing_is_told_what_to_do_first(visitor):
    page = visitor.page("/")
    assert "Nothing has happened yet" in page
    assert "lightning send" in page


def test_it_counts_and_changes_at_once(ingress, visitor):
    person = visitor.person
    first, second = person.says("one"), person.says("two")
    page = visitor.page("/")
    assert '<b id="count-accepted">2</b>' in page
    seen = page.partition("seen=")[2].partition('"')[0]
    assert visitor.get("/live", seen=seen).status_code in {200, 204}  # the age of what waits may have changed

    ended(ingress, person, first["id"], "done")
    error = {"code": "model_refused", "message": "it <b>does not</b> want to"}
    ended(ingress, person, second["id"], "dead", error=error)

    answer = visitor.get("/live", seen=seen)
    assert answer.status_code == 200
    assert '<b id="count-done">1</b>' in answer.text
    assert '<b id="count-dead">1</b>' in answer.text
    assert "it &lt;b&gt;does not&lt;/b&gt; want to" in answer.text
    seen = answer.text.partition("seen=")[2].partition('"')[0]
    assert visitor.get("/live", seen=seen).status_code == 204


def test_it_counts_tokens_and_what_those_cost_that_have_a_price(ingress, visitor):
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    cheap, _ = answered(ingress, visitor.person, "one", "x", model="m", usage=usage)
    page = text_of(visitor.page("/"))
    assert "1,234 tokens in the last 1 answers" in page
    assert "1,200 asked, 34 answered in the last 1 answers" in page
    # what has no price is left out: this is 1200 * $1000 + 34 * $2000 for a million
    dear, _ = answered(ingress, visitor.person, "two", "x", model="dear-2024-08-06", usage=usage)
    assert "2,400 asked, 68 answered, $1.27 without 1 of models that have no price" in text_of(
        visitor.page("/")
    )
    assert "1,200 asked, 34 answered, $1.27 " in text_of(visitor.page(f"/events/{dear['id']}"))
    assert "$" not in text_of(visitor.page(f"/events/{cheap['id']}"))


def test_operators_see_all_together_and_each_user(operator, visitor):
    visitor.person.says("hello")
    assert "users together" in operator.page("/")
    assert "users together" not in visitor.page("/")
    elsewhere = operator.page(f"/u/{visitor.person.id}/")
    assert '<b id="count-accepted">1</b>' in elsewhere
    assert visitor.person.username in text_of(elsewhere)
    for user in (operator.person.id, visitor.person.id, "nobody"):
        assert visitor.get(f"/u/{user}/").status_code == 404
    assert operator.get("/u/nobody/").status_code == 404
