"""Requests made from the description that is served, against the ingress that serves it (schemathesis).

As one tenant: whatever is sent, the answer is one that the description promises. As another: nothing of the
first one's is shown or changed. New routes are tried by themselves.
"""

import json
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import ROUTES
from api.operation import Operation
from tests.api.approvals import an_approval
from tests.api.conftest import PATIENCE_SECONDS, written_run
from tests.api.described import check
from tests.api.runs import repository_of, working

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

CANARY = "canary-51d0e8"

#: Streams do not end; `test_stream` reads them. What fits no description needs something to be described.
CASES = [
    (route, mode)
    for route in ROUTES
    if isinstance(route, Operation)
    for mode in GenerationMode
    if "text/event-stream" not in route.answers.values()
    and (mode is GenerationMode.POSITIVE or route.query is not None or route.body is not None)
]
FOR_RUNS = {route.path for route in ROUTES if route.for_runs}
NAMES = [f"{route.method} {route.path} {mode.value}" for route, mode in CASES]

#: These ask for a commit of a repository, which the examples leave empty.
OF_COMMITS = {("GET", each.path) for each in ROUTES if each.path.startswith("/api/repos/{repo}/")}

#: What fits the description of these is accepted; others ask for what no description can tell.
OPEN = {
    ("POST", "/api/events"),
    *((each.method, each.path) for each, _ in CASES if each.method == "GET"),
} - OF_COMMITS

#: Lists in lists in lists take about a second to make up.
DEEP = {"/otlp/v1/traces"}
MAX_DEEP_EXAMPLES = 4

#: Tokens are added here, so none are made up; nothing is read from a file or kept in one.
CONFIG = {"generation": {"with-security-parameters": False}}

#: Of an address that every part on the way takes.
MAX_QUERY_CHARS = 32 * 1024

#: Of each operation, in each mode; more where that is too few to ask for each of what somebody has.
MAX_EXAMPLES = 15

bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Tenant:
    """One user of the ingress, who sends what schemathesis makes."""

    def __init__(self, ingress) -> None:
        self.ingress = ingress
        self.person = ingress.person()
        self.run = working(self.person, *repository_of(self.person, "work"), input=self.person.id)
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, case: Case) -> schemathesis.Response:
        """Send a request; whoever waits for an event here would wait for ever, as no worker runs."""
        if case.query and "wait" in case.query:
            case.query["wait"] = min(case.query["wait"], 0) if isinstance(case.query["wait"], int) else "soon"
        response = case.call(
            base_url=self.ingress.url,
            session=self.session,
            headers=self.run.headers() if case.path in FOR_RUNS else self.person.headers(),
            timeout=PATIENCE_SECONDS,
        )
        # 207: what is wrong is refused within; 413 is a refusal, which the check does not know for one
        is_known = response.status_code not in {207, 413}
        checks = [*CHECKS, negative_data_rejection] if is_known else CHECKS
        case.validate_response(response, checks=checks)
        check(_as_httpx2(response))
        return response

    def own(self, value: Any) -> Any:
        """Make what is posted one's own and of today, so that it can be accepted."""
        mine = {"userID": self.person.id, "timestamp": "2026-01-31T12:00:00Z"}
        if isinstance(value, list):
            return [self.own(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: mine.get(name, self.own(each)) for name, each in value.items()}


def _as_httpx2(response: schemathesis.Response) -> httpx2.Response:
    sent = response.request
    # its content was decompressed
    headers = [
        (name, value)
        for name, values in response.headers.items()
        for value in values
        if name.lower() != "content-encoding"
    ]
    request = httpx2.Request(sent.method, sent.url, headers=dict(sent.headers), content=_bytes(sent.body))
    return httpx2.Response(response.status_code, headers=headers, content=response.content, request=request)


def _is_read(case: Case) -> bool:
    """Tell whether a request comes to the application: the server itself refuses an address of 64 KiB."""
    return len(urlencode(case.query or {}, doseq=True)) < MAX_QUERY_CHARS


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""


def ids(value: Any) -> set[str]:
    """Collect everything that is an id in an answer."""
    if isinstance(value, list):
        return set().union(*map(ids, value))
    if not isinstance(value, dict):
        return set()
    named = {each for name, each in value.items() if name in {"id", "root"} and isinstance(each, str)}
    named.update(value.get("ids", []))
    return named.union(*map(ids, value.values()))


@pytest.fixture(scope="module")
def served(ingress):
    return ingress.http.get("/openapi.json").json()


@pytest.fixture(scope="module")
def description(served):
    return schemathesis.openapi.from_dict(served, config=SchemathesisConfig.from_dict(CONFIG))


@dataclass(frozen=True)
class Pair:
    """Somebody who has one of everything, by its ids, and somebody who has nothing of it."""

    owner: Tenant
    belongings: list[str]
    stranger: Tenant


def pair(served, ingress):
    owner, stranger = Tenant(ingress), Tenant(ingress)
    stranger.person.says("mine")
    return Pair(owner, possessions(served, owner), stranger)


@pytest.fixture(scope="module")
def readers(served, ingress):
    return pair(served, ingress)


@pytest.fixture
def asking(request, served, ingress, route, mode):
    """Share who only reads, or is refused, as nothing changes by that; others have a pair of their own."""
    changes = route.method != "GET" and mode is GenerationMode.POSITIVE
    return pair(served, ingress) if changes else request.getfixturevalue("readers")


@pytest.fixture(scope="module")
def robbed(ingress):
    """An owner for all tests with a stranger: what each of them leaves as it is, the next one finds."""
    return Tenant(ingress)


@pytest.fixture(scope="module")
def valuables(served, robbed):
    return possessions(served, robbed)


def possessions(served: dict[str, Any], owner: Tenant) -> list[str]:
    """Give the owner one of everything that can be made from an example, and name it by its ids."""
    ingress = owner.ingress
    found: set[str] = set()
    for path, methods in served["paths"].items():
        body = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        made_here = {"201", "202"} & set(methods.get("post", {}).get("responses", {}))
        if body is None or not made_here or not methods["post"]["security"] or "{" in path:
            continue
        for example in body["examples"].values():
            made = owner.own(example["value"])
            if "source" in made:
                made["source"] = CANARY
            asking = owner.run if path in FOR_RUNS else owner.person
            answer = asking.request("POST", path, content=json.dumps(made).encode())
            assert answer.is_success, (path, answer.status_code, answer.text)
            found |= ids(answer.json())
    for task in owner.person.get("/api/events", type="worker.task").json()["events"]:
        # one goes on, the others are over
        going = task["id"] == owner.run.task["id"]
        found.add(owner.run.id if going else written_run(ingress, task, CANARY))
    found.add(an_approval(owner.person))
    assert found, "the owner has nothing that anybody could take"
    return sorted(found)


@pytest.mark.parametrize(("route", "mode"), CASES, ids=NAMES)
def test_every_answer_is_described_and_shows_a_stranger_nothing(
    description, asking, robbed, valuables, route, mode
):
    owner, belongings, stranger = asking.owner, asking.belongings, asking.stranger
    operation = description[route.path][route.method]
    is_positive = mode is GenerationMode.POSITIVE
    accepted: list[bool] = []
    ids_in_turn = cycle(belongings)  # each is tried, however many there are
    before = robbed.person.log()
    tries = len(belongings) if is_positive and route.path_parameters else 0

    # making requests up is what takes long, so both send the same
    @settings(bounded, max_examples=MAX_DEEP_EXAMPLES if route.path in DEEP else max(MAX_EXAMPLES, tries))
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def try_out(case, data):
        # Given requests that fit the description, or just do not
        assume(_is_read(case))
        if is_positive:
            case.body = owner.own(case.body)
            case.path_parameters = dict.fromkeys(case.path_parameters or {}, next(ids_in_turn))

        # Then the answer is among those that it names, in every part
        accepted.append(owner.send(case).status_code < 400)

        # Given the same, which names another owner's things wherever it names any
        theirs = st.sampled_from(valuables)
        case.path_parameters = {name: data.draw(theirs) for name in case.path_parameters or {}}
        for name in {"root", "conversationID"} & set(case.query or {}):
            case.query[name] = data.draw(theirs)
        if is_positive:
            case.body = (stranger if data.draw(st.booleans()) else robbed).own(case.body)

        # When a stranger sends it, from no other site's page, which would be refused as such
        for name in {"Origin"} & set(case.headers or {}):
            del case.headers[name]
        answer = stranger.send(case)

        # Then nothing comes back that they did not say themselves
        sent = f"{answer.request.url} {_bytes(answer.request.body).decode(errors='replace')}"
        secrets = {secret for secret in (CANARY, robbed.person.id, *valuables) if secret not in sent}
        assert not {secret for secret in secrets if secret in answer.text}

        # And what is the other owner's is not there
        if route.path_parameters:
            assert answer.status_code in ({404} if is_positive else {400, 404, 422})

    try_out()

    # And what fits is accepted at least sometimes, so that this is not about refusals only
    if is_positive and (route.method, route.path) in OPEN:
        assert any(accepted), "nothing that fits the description is accepted"
    # And the other owner's log is what it was
    assert robbed.person.log() == before
