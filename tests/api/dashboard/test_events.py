"""The events: listed, found, told in full, and acted upon."""

import time
from datetime import UTC, datetime, timedelta

from lightning.events import Draft, now_text
from lightning.telemetry import names
from lightning.telemetry.spans import Span
from tests.api.dashboard.browsing import ended, text_of, visiting

#: When spans begin here: now, as the store removes old ones.
BEGIN_MS = int(time.time() * 1000)


def test_who_has_none_is_told_what_to_do_first(visitor):
    assert "No events yet" in visitor.page("/events")


def test_they_are_listed_newest_first_a_page_at_a_time(visitor):
    for number in range(4):
        batch = [
            visitor.person.event(type="user.message", metadata={"content": f"say {number} {place}"})
            for place in range(15)
        ]
        assert visitor.person.post(batch).status_code == 202
    page = visitor.page("/events")
    assert "say 3 14" in page
    assert "say 0 0" not in page
    older = page.partition("before=")[2].partition('"')[0].partition("&")[0]
    assert "say 0 0" in visitor.page("/events", before=older)


def test_they_are_found_by_type_state_text_and_time(ingress, visitor):
    person = visitor.person
    chat = person.says("where is Älbert?")
    person.post(person.event(type="user.message", metadata={"content": "a note"}))
    ended(ingress, person, chat["id"], "dead", error={"code": "x", "message": "broken pipe"})

    def listed(**query):
        page = visitor.page("/events", **query)
        return {word for word in ("llm.chat</a>", "user.message</a>") if word in page}

    both = {"llm.chat</a>", "user.message</a>"}
    hour = timedelta(hours=1)
    before, after = (f"{datetime.now(UTC) + d:%Y-%m-%dT%H:%M}" for d in (-hour, hour))
    assert listed() == both
    assert listed(type="llm.chat") == {"llm.chat</a>"}
    assert listed(state="accepted") == {"user.message</a>"}
    assert listed(type="llm.chat", state="accepted") == set()
    assert listed(root=chat["id"]) == listed(conversation=chat["id"]) == {"llm.chat</a>"}
    assert listed(text="älbert") == {"llm.chat</a>"}
    assert listed(text="BROKEN PIPE") == {"llm.chat</a>"}
    assert listed(text="nothing of it") == set()
    assert listed(since=before) == listed(until=after) == both
    assert listed(since=after) == listed(until=before) == set()
    for wrong in ({"type": "no"}, {"state": "no"}, {"since": "no"}, {"before": "no"}):
        assert visitor.get("/events", **wrong).status_code == 400


def test_one_is_told_in_full(ingress, visitor):
    person = visitor.person
    event = person.says("<script>alert(1)</script>")
    answer = Draft(
        "answer-" + event["id"],
        "llm.chat.response",
        "t",
        {"content": "<img src=x onerror=alert(1)>", "conversationID": event["id"]},
        now_text(),
        {},
    )
    ended(ingress, person, event["id"], "done", outputs=[answer])
    page = visitor.page(f"/events/{event['id']}")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert (
        "<script>alert(1)</script>" in text_of(page.replace("&lt;", "&amp;lt;")) or "&lt;script&gt;" in page
    )
    assert f'href="/dashboard/events/{answer.id}"' in page
    assert "Replay" in page


def test_it_is_cancelled_and_replayed(ingress, visitor):
    event = visitor.person.says("one")
    path = f"/events/{event['id']}"
    assert "Cancel" in visitor.page(path)
    assert visitor.post(f"{path}/replay").status_code == 409
    answer = visitor.post(f"{path}/cancel")
    assert answer.status_code == 200
    assert answer.url.path == f"/dashboard{path}"
    assert visitor.person.get(f"/api{path}").json()["state"] == "cancelled"

    again = visitor.post(f"{path}/replay")
    assert again.status_code == 200
    assert again.url.path != f"/dashboard{path}"
    assert f"/dashboard{path}" in again.text, "a replay names what it repeats"


def test_another_user_sees_and_does_nothing(ingress, visitor, operator):
    event = visitor.person.says("canary-31")
    path = f"/events/{event['id']}"
    with visiting(ingress.person()) as other:
        assert "canary-31" not in other.page("/events")
        assert "canary-31" not in other.page("/events", text="canary-31").replace('value="canary-31"', "")
        for answer in (
            other.get(path),
            other.get(f"{path}/live"),
            other.get(f"{path}/spans"),
            other.post(f"{path}/cancel"),
            other.post(f"{path}/replay"),
            other.get(f"/u/{visitor.person.id}{path}"),
            other.post(f"/u/{visitor.person.id}{path}/cancel"),
        ):
            assert answer.status_code == 404
            assert "canary-31" not in answer.text
    assert visitor.person.get(f"/api{path}").json()["state"] == "accepted"
    # an operator sees it at its owner's, and may act
    assert operator.get(path).status_code == 404
    assert "canary-31" in operator.page(f"/u/{visitor.person.id}{path}")
    assert operator.post(f"/u/{visitor.person.id}{path}/cancel").status_code == 200
    assert visitor.person.get(f"/api{path}").json()["state"] == "cancelled"
    # which its owner finds in the audit
    told = visitor.person.get("/api/audit", event=event["id"]).json()["records"]
    assert [record["by"] for record in told if record["kind"] == "cancel"] == [operator.person.id]


def span(number, parent=None, event=None, *, trace="a" * 32, kind="internal", **changes):
    attributes = {} if event is None else {names.EVENT: event}
    given = {"name": f"span {number}", "process": "worker:1", **changes}
    return Span(
        trace_id=trace,
        span_id=f"{number:016x}",
        parent_id=None if parent is None else f"{parent:016x}",
        kind=kind,
        start_ns=BEGIN_MS * 10**6 + number * 10**6,
        end_ns=BEGIN_MS * 10**6 + (number + 3) * 10**6,
        attributes={**attributes, **changes.pop("attributes", {})} | given.pop("attributes", {}),
        **given,
    )


def test_a_trace_is_drawn_with_its_queue_time_and_folded(ingress, visitor, operator):
    event = visitor.person.says("hello")
    raised = {"name": "exception", "time_ns": 1, "attributes": {"exception.stacktrace": "File <x>"}}
    link = {
        "trace_id": "a" * 32,
        "span_id": "1" * 16,
        "attributes": {names.LINK_ENQUEUED_TIME: BEGIN_MS - 500},
    }
    failed = span(
        1,
        event=event["id"],
        kind="consumer",
        status="error",
        status_message="ValueError: <no>",
        events=[raised],
        links=[link],
    )
    ingress.platform.spans.add([failed, *(span(number, 1) for number in range(2, 1001))])

    page = visitor.page(f"/events/{event['id']}")
    assert "1000 spans" in page
    assert 'class="queue"' in page
    assert "501 ms in the queue" in text_of(page)
    assert "ValueError: &lt;no&gt;" in page
    assert "span 100<" in page
    assert "span 101<" not in page
    more = visitor.page(f"/events/{event['id']}/spans", first=100)
    assert "span 101<" in more
    assert "the next 100 of 800 more" in more
    # the traceback is for operators
    assert "File &lt;x&gt;" not in page
    assert "File &lt;x&gt;" in operator.page(f"/u/{visitor.person.id}/events/{event['id']}")


def test_nothing_of_a_trace_is_shown_that_belongs_to_another_user(ingress, visitor):
    # Given somebody who posts an event in the trace of another user
    event = visitor.person.says("mine")
    trace = "b" * 32
    ingress.platform.spans.add(
        [
            span(1, event="foreign", trace=trace, name="foreign root"),
            span(2, 1, trace=trace, name="foreign child"),
            span(3, 2, trace=trace, kind="server", name="my request"),
            span(4, 3, event["id"], trace=trace, name="my step"),
            span(5, 4, trace=trace, name="my model call"),
            span(6, 4, "foreign", trace=trace, name="foreign below"),
        ]
    )
    page = visitor.page(f"/events/{event['id']}")
    assert all(name in page for name in ("my request", "my step", "my model call"))
    assert "foreign" not in page
