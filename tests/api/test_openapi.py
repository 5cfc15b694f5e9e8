"""`/openapi.json` and `/docs`: true, complete, and readable without a network.

That every answer is one that is described is checked wherever an answer is received: `described`.
"""

import ast
import asyncio
import base64
import copy
import hashlib
import itertools
import json
import re
import threading
from html.parser import HTMLParser

import jsonschema_rs
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from api import app
from api.app import ROUTES, WEBSOCKETS
from api.docs import LateReference, Reference
from api.openapi import document
from api.operation import Operation
from api.reference import render
from api.shown import EventPage, EventShown
from lightning.events import TYPES, Envelope
from lightning.keys import with_keys
from lightning.settings import Settings
from tests.architecture.tree import PYPROJECT, ROOT

DOCUMENT = document([*ROUTES, *WEBSOCKETS])
DESCRIBED = [route for route in ROUTES if isinstance(route, Operation)]
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def walk(value, at=""):
    """Every object in a JSON value with the pointer to it."""
    if isinstance(value, dict):
        yield at, value
    for name, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, dict | list):
            yield from walk(each, f"{at}/{name}")


def contents():
    """Every schema of a body or answer with its examples."""
    for at, value in walk(DOCUMENT["paths"], "/paths"):
        described = re.search(r"/(requestBody|responses/\d+)$", at)
        for media_type, content in value.get("content", {}).items() if described else ():
            yield pytest.param(content, id=f"{at} {media_type}")


def valid(schema, value, components=DOCUMENT["components"]):
    whole = {**copy.deepcopy(schema), "components": components}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


class TestDocument:
    def test_it_is_openapi(self):
        schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig()).validate()
        assert DOCUMENT["openapi"].startswith("3.1.")
        assert DOCUMENT["info"]["version"] == PYPROJECT["project"]["version"]

    def test_its_schemas_are_of_the_draft_it_names(self):
        for schema in DOCUMENT["components"]["schemas"].values():
            jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})

    def test_every_reference_leads_somewhere_and_nothing_is_left_over(self):
        named = {value["$ref"] for _, value in walk(DOCUMENT) if "$ref" in value}
        assert named == {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}

    def test_every_route_is_in_it(self):
        told = {(method.upper(), path) for method, path, _ in OPERATIONS}
        routes = {(route.method, re.sub(r":\w+}", "}", route.path)) for route in DESCRIBED}
        assert told == routes | {("GET", socket.path) for socket in WEBSOCKETS}

    def test_each_operation_has_a_name_of_its_own_and_a_known_resource(self):
        names = [operation["operationId"] for _, _, operation in OPERATIONS]
        assert len(set(names)) == len(names)
        resources = {tag["name"] for tag in DOCUMENT["tags"]}
        assert {tag for _, _, operation in OPERATIONS for tag in operation["tags"]} == resources
        assert all(tag["description"].endswith(".") for tag in DOCUMENT["tags"])

    @pytest.mark.parametrize("route", DESCRIBED, ids=lambda route: f"{route.method} {route.path}")
    def test_a_scope_is_told_and_so_is_its_refusal(self, route):
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        if route.for_runs:
            assert operation["security"] == [{"run": []}]
            assert "401" in operation["responses"]
        elif route.scope is None:
            assert operation["security"] == []
            assert "token_missing" not in json.dumps(operation)
        else:
            assert operation["security"] == [{"bearer": [route.scope]}]
            assert {"401", "403"} <= set(operation["responses"])

    @pytest.mark.parametrize("content", list(contents()))
    def test_examples_are_what_they_are_examples_of(self, content):
        for name, example in content.get("examples", {}).items():
            assert valid(content["schema"], example["value"]), (name, example["value"])

    def test_a_problem_names_its_codes_and_when_to_come_again(self):
        for at, answer in walk(DOCUMENT["paths"]):
            status = at.rpartition("/")[2]
            if status.isdigit() and "application/problem+json" in answer.get("content", {}):
                only = answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
                assert only["status"] == {"const": int(status)}
                assert only["code"]["enum"]
                assert ("Retry-After" in answer.get("headers", {})) == (status in {"429", "503"}), at
                assert ("WWW-Authenticate" in answer.get("headers", {})) == (status == "401"), at

    def test_every_code_of_ours_is_in_it(self):
        # Given every code that is written where HTTP's own modules raise; pages are read by people
        modules = [
            *(path for path in ROOT.glob("api/**/*.py") if "dashboard" not in path.parts),
            *ROOT.glob("lightning/domain/*.py"),
            *ROOT.glob("lightning/events/*.py"),
        ]
        written = {
            keyword.value.value
            for module in modules
            for node in ast.walk(ast.parse(module.read_text()))
            # what is permanent ends an event, and is no answer to a request
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") != "Permanent"
            for keyword in node.keywords
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
        }

        # Then an operation tells of it
        told = {code for _, value in walk(DOCUMENT["paths"]) for code in value.get("enum", [])}
        assert written
        assert written <= told


class TestEvents:
    def test_what_users_post_is_told_for_each_type(self):
        body = DOCUMENT["components"]["schemas"]["Envelope"]
        posted = {name for name, kind in TYPES.items() if kind.posted_by_users}
        assert set(body["discriminator"]["mapping"]) == posted
        assert len(body["oneOf"]) == len(posted)
        assert set(DOCUMENT["x-event-types"]) == set(TYPES)

    @pytest.mark.parametrize(
        ("change", "fits"),
        [
            ({}, True),
            ({"metadata": {"content": ""}}, False),
            ({"metadata": {"content": "x", "more": 1}}, False),
            ({"metadata": {}}, False),
            ({"type": "user.message", "metadata": {"content": "x", "conversationID": "c"}}, False),
            ({"type": "llm.chat.response"}, False),
            ({"type": "unknown"}, False),
            ({"more": 1}, False),
        ],
    )
    def test_the_type_decides_what_is_posted(self, change, fits):
        event = {
            "timestamp": "2026-01-31T12:00:00Z",
            "source": "tests",
            "type": "llm.chat",
            "userID": "u",
            "metadata": {"content": "x"},
        }
        assert valid({"$ref": "#/components/schemas/Envelope"}, {**event, **change}) is fits

    def test_the_type_decides_what_is_shown(self):
        shown = {"id": "1", "state": "done", "type": "llm.chat.response"}
        output = {"$ref": "#/components/schemas/OutputShown"}
        full = {"content": "x", "conversationID": "c", "model": "m", "finishReason": "stop"}
        assert valid(output, {**shown, "metadata": full})
        assert not valid(output, {**shown, "metadata": {"content": "x"}})
        # an event of a type that is gone stays readable
        assert valid(output, {**shown, "type": "gone", "metadata": {"any": 1}})

    def test_a_stream_tells_of_its_frames(self):
        stream = DOCUMENT["paths"]["/api/stream"]["get"]["responses"]["200"]
        frames = stream["content"]["text/event-stream"]["x-frames"]
        assert all(schema["$ref"].removeprefix("#/components/schemas/") for schema in frames.values())


class TestServed:
    def test_the_document_is_the_one_that_is_checked(self, ingress):
        answer = ingress.http.get("/openapi.json")
        assert answer.status_code == 200
        assert answer.json() == DOCUMENT

    @pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
    def test_it_is_sent_again_only_when_it_changed(self, ingress, path):
        # Given somebody who has read it
        etag = ingress.http.get(path).headers["etag"]

        # When they ask again, then nothing is sent
        for known in (etag, f'"other", W/{etag}', "*"):
            again = ingress.http.get(path, headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)

        # And with another version in hand it is sent whole
        assert ingress.http.get(path, headers={"if-none-match": '"other"'}).status_code == 200


class Page(HTMLParser):
    """What matters of a page: elements with their attributes, and the text of its style."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.style = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._in = tag

    def handle_data(self, data):
        if self._in == "style":
            self.style += data

    def handle_endtag(self, tag):
        self._in = ""

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]

    def count(self, tag):
        return sum(1 for name, _ in self.elements if name == tag)


@pytest.fixture(scope="module")
def answer(ingress):
    answer = ingress.http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer


@pytest.fixture(scope="module")
def page(answer):
    return Page(answer.text)


class TestDocs:
    def test_it_needs_nothing_but_itself(self, page):
        names = {tag for tag, _ in page.elements}
        assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "svg"}
        assert not page.values("src")
        assert not page.values("style")
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert all(re.match(r"#|/(?!/)", href) for href in page.values("href"))
        assert not re.search(r"url\(|@import|https?:", page.style)

    def test_its_policy_allows_its_own_style_and_nothing_else(self, answer, page):
        digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }

    def test_every_operation_and_type_is_on_it_and_every_link_leads_somewhere(self, page):
        ids = page.values("id")
        assert len(set(ids)) == len(ids)
        assert {operation["operationId"] for _, _, operation in OPERATIONS} <= set(ids)
        assert {f"type-{name}" for name in TYPES} <= set(ids)
        assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)

    def test_a_screen_reader_finds_its_way(self, page):
        assert ("html", {"lang": "en"}) in page.elements
        assert [page.count(tag) for tag in ("h1", "main", "nav", "header", "title")] == [1] * 5
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
        assert set(page.values("aria-labelledby")) <= set(page.values("id"))
        assert page.count("table") == page.count("caption")

    def test_every_code_is_on_it(self, answer):
        told = {
            code
            for at, value in walk(DOCUMENT["paths"])
            if at.endswith("/properties/code")
            for code in value["enum"]
        }
        assert told
        assert not {code for code in told if f"<code>{code}</code>" not in answer.text}

    def test_no_mark_of_the_source_is_left(self, answer):
        assert "`" not in answer.text

    def test_text_stays_text(self):
        # Given a description with what would be markup
        hostile = "<script>alert(1)</script> `<b>` </style>"
        changed = copy.deepcopy(DOCUMENT)
        changed["info"]["description"] = hostile
        changed["tags"][0]["description"] = hostile
        changed["paths"]["/api/events"]["post"]["summary"] = hostile
        changed["components"]["schemas"]["ChatMetadata"]["properties"][hostile] = {"description": hostile}

        # Then the page shows it and does not obey it
        page, _ = render(changed)
        assert "&lt;script&gt;" in page
        assert not {"script", "b"} & {tag for tag, _ in Page(page).elements}


def test_what_an_operation_does_not_say_follows_from_its_endpoint():
    async def endpoint(request):
        """Show ``this``.

        It is a ``thing``.

        Raises:
          Nothing: Ever.
        """

    operation = Operation("GET", "/{one}/{two:path}", endpoint, summary="x", scope=None, answers={})
    assert operation.description == "It is a `thing`."
    assert operation.path_parameters == ["one", "two"]
    assert operation.tag == "test_openapi"


def test_a_body_may_come_in_several_forms():
    # Given an operation that takes an event or several, in two media types, and answers in two ways
    async def endpoint(request):
        """Take it."""

    operation = Operation(
        "POST",
        "/many",
        endpoint,
        summary="Take it.",
        scope=None,
        body={"application/json": Envelope | list[Envelope], "application/x+json": list[Envelope]},
        answers={202: EventShown | EventPage, 207: {"application/x+json": EventPage}, 204: None},
        tag="events",
    )
    described = document([operation])

    # Then each form is told, with an example that fits it
    post = described["paths"]["/many"]["post"]
    json_body = post["requestBody"]["content"]["application/json"]
    assert {"llm.chat", "user.message", "list of Envelope"} <= set(json_body["examples"])
    forms = [
        content
        for holder in (post["requestBody"], post["responses"]["202"], post["responses"]["207"])
        for content in holder["content"].values()
    ]
    for content in forms:
        assert content["examples"]
        for example in content["examples"].values():
            assert valid(content["schema"], example["value"], described["components"]), example
    assert "content" not in post["responses"]["204"]

    # And people can read of it
    page, _ = render(described)
    assert "list of Envelope" in page


class TestLate:
    def test_an_ingress_starts_without_it(self, tmp_path):
        # Given a process in which nobody has asked for the description
        app._reference.cache_clear()
        # When an ingress is made
        app.create_app(with_keys(Settings.load({"LIGHTNING_DATA": str(tmp_path)})))
        # Then it did not wait for the description
        assert app._reference.cache_info().currsize == 0

    async def test_it_is_made_once_for_all_who_ask_and_holds_up_nobody_else(self):
        # Given a description that takes a while
        threads = []
        loop, begun, others = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def make():
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(begun.set)
            assert others.wait(20), "the loop stands still"
            return Reference([*ROUTES, *WEBSOCKETS])

        late = LateReference(make)
        # When several ask for it
        asking = [asyncio.create_task(late.get()) for _ in range(3)]
        await begun.wait()
        # Then others have their turn meanwhile
        others.set()
        # And all are given the same, which was made on a thread of its own
        first, *rest = await asyncio.gather(*asking)
        assert all(each is first for each in rest)
        assert len(threads) == 1
        assert threads != [threading.current_thread()]
