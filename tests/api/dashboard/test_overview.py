"""The overview: empty, counting, live."""

from tests.api.dashboard.browsing import ended, text_of


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


def test_it_counts_tokens(ingress, visitor):
    from lightning.events import Draft, now_text

    event = visitor.person.says("one")
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    metadata = {"content": "x", "conversationID": event["id"], "model": "m", "usage": usage}
    answer = Draft("answer-of-" + event["id"], "llm.chat.response", "t", metadata, now_text(), {})
    ended(ingress, visitor.person, event["id"], "done", outputs=[answer])
    assert "1,234 tokens in the last 1 answers" in text_of(visitor.page("/"))


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
