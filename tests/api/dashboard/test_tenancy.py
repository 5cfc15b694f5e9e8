"""Every page and form as somebody else; the cases come from the table of pages, as those of the API do."""

import pytest

from api.dashboard.app import OPEN, OPERATORS, PAGES
from tests.api.approvals import an_approval
from tests.api.dashboard.browsing import visiting
from tests.api.test_tenancy import (
    CANARY,
    a_conversation,
    delivery_of,
    repository_of,
    run_of,
    schedule_of,
    webhook_of,
)

#: By the beginnings of paths, how to find or make one of the owner's.
PARAMETERS = {
    "/events/{id}": lambda owner: {"id": owner.log()[0]["id"]},
    "/conversations/{id}": lambda owner: {"id": a_conversation(owner)},
    "/approvals/{id}": lambda owner: {"id": approval_of(owner)},
    "/runs/{id}": lambda owner: {"id": run_of(owner)},
    "/schedules/{id}": lambda owner: {"id": schedule_of(owner)},
    "/repos/{repo}": lambda owner: {"repo": repository_of(owner), "commit": commit_of(owner)},
    "/webhooks/{webhook}": lambda owner: {"webhook": webhook_of(owner), "delivery": delivery_of(owner)},
}

#: Forms without a parameter in their path, each with why nothing of another person's is at stake.
FORMS = {"/dead": "names events in its body; test_dead_events_of_others_are_left_alone"}

#: Pages that show one of the owner's things only if it has what they are about.
SPARSE = {"/runs/{id}/revert", "/repos/{repo}/file"}

CASES = [(next(iter((route.methods or set()) - {"HEAD"})), route.path) for route in PAGES]
WITH_PARAMETERS = [case for case in CASES if "{" in case[1]]
LISTS = [path for method, path in CASES if method == "GET" and "{" not in path]


def approval_of(owner):
    found = owner.get("/api/approvals").json()["approvals"]
    return found[0]["id"] if found else an_approval(owner, content=CANARY)


def commit_of(owner):
    return owner.get(f"/api/repos/{repository_of(owner)}/log").json()["commits"][0]["id"]


def filled(path, owner):
    find = next(find for beginning, find in PARAMETERS.items() if path.startswith(beginning))
    return path.format(**find(owner))


@pytest.fixture(scope="module")
def owner(ingress):
    # Given somebody with one of everything
    owner = ingress.person()
    event = owner.event(source=CANARY, metadata={"content": CANARY, "conversationID": f"{CANARY}-c"})
    assert owner.post(event).status_code == 202
    for make in (webhook_of, repository_of, schedule_of, run_of, approval_of):
        make(owner)
    return owner


@pytest.fixture(scope="module")
def three(ingress, owner):
    """The owner, somebody else and an operator at the pages."""
    with (
        visiting(owner) as its,
        visiting(ingress.person()) as other,
        visiting(ingress.person(role="operator")) as operator,
    ):
        yield its, other, operator


@pytest.mark.parametrize(("method", "path"), CASES)
def test_every_page_is_checked(method, path):
    known = any(path.startswith(beginning) for beginning in PARAMETERS)
    assert known or "{" not in path, f"{path}: add it to PARAMETERS, so that it is tried with another's"
    assert known or method == "GET" or path in FORMS, (
        f"{path}: add it to FORMS, and say what keeps users apart"
    )


@pytest.mark.parametrize(("method", "path"), WITH_PARAMETERS)
def test_anothers_things_are_not_there(three, owner, method, path):
    _, other, operator = three
    address = filled(path, owner)
    before = owner.get("/api/events").text, owner.get("/api/schedules").text
    for tried in (address, f"/u/{owner.id}{address}"):
        answer = other.get(tried) if method == "GET" else other.post(tried)
        assert answer.status_code == 404, f"{tried}: {answer.status_code}"
        assert CANARY not in answer.text
    # an operator finds it at its owner's, and not among the operator's own
    assert operator.get(address).status_code in {404, 405}
    assert (owner.get("/api/events").text, owner.get("/api/schedules").text) == before


@pytest.mark.parametrize(("method", "path"), WITH_PARAMETERS)
def test_the_owner_and_operators_find_them(three, owner, method, path):
    its, _, operator = three
    address = filled(path, owner)
    for who, tried in ((its, address), (operator, f"/u/{owner.id}{address}")):
        query = {"path": CANARY} if path == "/repos/{repo}/file" else {}
        answer = who.get(tried, **query) if method == "GET" else who.post(tried)
        assert answer.status_code not in {404, 500}, f"{tried}: {answer.status_code} {answer.text}"
        if method == "GET":
            assert answer.status_code == 200 or answer.status_code == 204, answer.text


@pytest.mark.parametrize("path", LISTS)
def test_lists_are_of_ones_own(three, owner, path):
    its, other, operator = three
    assert CANARY not in other.page(path)
    assert CANARY not in operator.page(path)
    assert other.get(f"/u/{owner.id}{path}").status_code == 404
    shown = its.page(path)
    assert operator.get(f"/u/{owner.id}{path}").status_code == 200
    if path not in {"/", "/live", "/dead"}:
        assert CANARY in shown or run_of(owner) in shown, (
            "so that the case above is not a mistake of this test"
        )


@pytest.mark.parametrize("route", OPERATORS, ids=lambda route: route.path)
def test_pages_of_operators_are_not_there_for_others(three, owner, route):
    _, other, _ = three
    address = route.path.format(id=owner.id)
    method = next(iter(route.methods - {"HEAD"}))
    answer = other.get(address) if method == "GET" else other.post(address)
    assert answer.status_code == 404
    assert owner.get("/api/me").status_code == 200


def test_only_these_pages_are_open():
    assert {route.path for route in OPEN} == {"/login", "/logout", "/register", "/static/{name}"}
