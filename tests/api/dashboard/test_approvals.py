"""Approvals on the pages: what waits is shown and counted, and only its user decides, once."""

import pytest

from tests.api.approvals import an_approval
from tests.api.dashboard.browsing import answered, text_of, visiting


@pytest.fixture
def approval(visitor):
    id_ = an_approval(visitor.person)
    return visitor.person.get(f"/api/approvals/{id_}").json()


def decide(visitor, approval, do="approve", **changes):
    return visitor.post(f"/approvals/{approval['id']}", do=do, **{"hash": approval["hash"], **changes})


def state_of(visitor, approval):
    return visitor.person.get(f"/api/approvals/{approval['id']}").json()["state"]


def test_what_waits_is_listed_counted_and_shown_exactly(visitor, approval):
    path = f"/approvals/{approval['id']}"
    late = an_approval(visitor.person, seconds=-1.0)
    assert '<b id="count-approvals">1</b>' in visitor.page("/"), "one that is too late waits for nobody"
    waiting, _, all_of_them = visitor.page("/approvals").partition("All, the latest first")
    assert path in waiting
    assert late not in waiting
    assert path in all_of_them
    assert late in all_of_them
    page = visitor.page(path)
    assert approval["hash"] in page
    assert "&#34;content&#34;: &#34;hi&#34;" in page
    assert path in visitor.page(f"/events/{approval['eventID']}")


def test_it_is_decided_once_and_the_pages_tell_it(visitor, approval):
    path = f"/approvals/{approval['id']}"
    listed = visitor.page("/approvals").partition("live?seen=")[2].partition('"')[0]
    assert visitor.get("/approvals/live", seen=listed).status_code == 204
    assert visitor.get(f"{path}/live", seen="pending").status_code == 204
    answer = decide(visitor, approval, "refuse")
    assert (answer.url.path, state_of(visitor, approval)) == (f"/dashboard{path}", "refused")
    assert "<button name" not in answer.text
    assert "Nothing waits." in visitor.get("/approvals/live", seen=listed).text
    assert ">refused<" in visitor.get(f"{path}/live", seen="pending").text
    assert '<b id="count-approvals">0</b>' in visitor.page("/")
    # the same again is no mistake, the other one is
    assert decide(visitor, approval, "refuse").status_code == 200
    other = decide(visitor, approval, "approve")
    assert (other.status_code, "it is refused already" in text_of(other.text)) == (409, True)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"hash": "0" * 64}, 409, "the hash is that of another action"),
        ({"hash": "é"}, 409, "the hash is that of another action"),
        ({"do": "perhaps"}, 400, "say whether it is to be done"),
        ({"csrf": "0" * 64}, 403, "of another session"),
    ],
)
def test_what_is_not_a_decision_on_it_changes_nothing(visitor, approval, changes, status, said):
    answer = decide(visitor, approval, **changes)
    assert (answer.status_code, said in text_of(answer.text)) == (status, True)
    assert state_of(visitor, approval) == "pending"


def test_after_its_time_it_is_told_that_it_is_refused(visitor):
    late = visitor.person.get(f"/api/approvals/{an_approval(visitor.person, seconds=-1.0)}").json()
    page = visitor.page(f"/approvals/{late['id']}")
    assert "Nobody decided in time" in page
    assert "<button name" not in page
    answer = decide(visitor, late)
    assert (answer.status_code, "was not decided in time" in text_of(answer.text)) == (409, True)


def test_only_its_user_decides(ingress, visitor, operator, approval):
    path = f"/approvals/{approval['id']}"
    elsewhere = f"/u/{visitor.person.id}{path}"
    with visiting(ingress.person()) as other:
        assert other.get(path).status_code == 404
        assert decide(other, approval).status_code == 404
        assert other.post(elsewhere, do="approve", hash=approval["hash"]).status_code == 404
    # an operator sees it, and does not decide
    page = operator.page(elsewhere)
    assert approval["hash"] in page
    assert "<button name" not in page
    answer = operator.post(elsewhere, do="approve", hash=approval["hash"])
    assert (answer.status_code, visitor.person.username in text_of(answer.text)) == (403, True)
    assert state_of(visitor, approval) == "pending"


def test_a_conversation_leads_to_what_it_waits_for(ingress, visitor, approval):
    awaited = {"call": "send_message", "eventID": approval["eventID"], "approvalID": approval["id"]}
    event, response = answered(ingress, visitor.person, "tell me", "", waitsFor=[awaited])
    for path in (f"/conversations/{event['metadata']['conversationID']}", f"/events/{response}"):
        assert f'href="/dashboard/approvals/{approval["id"]}"' in visitor.page(path)
