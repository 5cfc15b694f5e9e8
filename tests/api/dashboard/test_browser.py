"""The pages in a real browser."""

import re
import time
from contextlib import contextmanager
from statistics import median

import pytest
from playwright.sync_api import expect

from lightning.events import Draft, now_text
from tests.api.approvals import an_approval
from tests.api.conftest import PATIENCE_SECONDS
from tests.api.dashboard.browsing import answered, ended
from tests.api.dashboard.chromium import Tab, chromium
from tests.api.dashboard.test_events import span
from tests.api.runs import GoingRun, repository_of

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1100, "height": 760}

#: What holds the thread of a page for so long is felt (W3C, "Long Tasks API").
STUTTER_SECONDS = 0.05

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@contextmanager
def tab_of(browser, person, **options):
    """Log a person in, and see at the end that nothing went wrong behind their back."""
    tab = Tab(browser, person, **options)
    try:
        tab.log_in()
        yield tab
        assert tab.faults == []
    finally:
        tab.close()


@pytest.fixture
def tab(browser, person):
    with tab_of(browser, person) as tab:
        yield tab


def test_the_overview_follows_what_happens_within_a_second(ingress, tab):
    page = tab.page
    expect(page.locator("#overview")).to_contain_text("Nothing has happened yet")
    looks = []
    page.on("request", lambda asked: looks.append(asked) if "/live" in asked.url else None)
    event = tab.person.says("hello")
    expect(page.locator("#count-accepted")).to_have_text("1")
    # Given a page that looks more than once a second
    period = re.fullmatch(r"every (\d+)ms", page.locator("#overview").get_attribute("hx-trigger"))
    assert int(period[1]) < 1000
    # When something happens
    ended(ingress, tab.person, event["id"], "dead", error={"code": "x", "message": "out of luck"})
    before = len(looks)
    expect(page.locator("#count-dead")).to_have_text("1")
    expect(page.locator("#overview")).to_contain_text("out of luck")
    # Then the first look after it has told of it
    assert "out of luck" in looks[before].response().text()
    # what has the keyboard's attention keeps it when the page changes below it
    tab.page.locator(f"#failure-{event['id']}").focus()
    tab.person.says("more")
    expect(tab.page.locator("#count-accepted")).to_have_text("1")
    assert tab.page.evaluate("document.activeElement.id") == f"failure-{event['id']}"


def test_an_event_is_cancelled_replayed_and_followed(ingress, tab):
    event = tab.person.says("hello")
    page = tab.open("/events")
    page.get_by_role("link", name="llm.chat").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    page.get_by_role("button", name="Replay").click()
    page.wait_for_url(lambda url: event["id"] not in url)
    expect(page.locator("#state")).to_have_text("accepted")
    again = page.url.rpartition("/")[2]
    ended(ingress, tab.person, again, "done")
    expect(page.locator("#state")).to_have_text("done")


def test_an_event_is_found_and_cancelled_with_the_keyboard_alone(tab):
    tab.person.says("hello")
    page = tab.open("/events")
    # The first stop leads past the menu, to the content
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    reach(page, "llm.chat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("llm.chat")
    reach(page, "Cancel")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("cancelled")


def reach(page, text):
    """Go on with the tabulator until what has this text has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"nothing leads to {text}")


def test_two_users_see_nothing_of_each_other(ingress, browser):
    one, other = ingress.person(), ingress.person()
    event, _ = answered(ingress, one, "canary-55", "canary-56")
    with tab_of(browser, one) as its, tab_of(browser, other) as foreign:
        for path in ("/", "/events", "/conversations"):
            assert "canary" not in foreign.open(path).content()
        assert "canary-55" in its.open("/events").content()
        answer = foreign.page.request.get(f"{ingress.url}/dashboard/events/{event['id']}")
        assert answer.status == 404


def test_a_script_in_an_answer_stays_text(ingress, tab):
    event, response = answered(ingress, tab.person, SCRIPT, SCRIPT)
    conversation = event["metadata"]["conversationID"]
    for path in (
        f"/events/{event['id']}",
        f"/events/{response}",
        f"/conversations/{conversation}",
        "/events",
    ):
        page = tab.open(path)
        expect(page.locator("main")).to_contain_text("window.hacked = 1")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0


def test_an_answer_appears_in_its_conversation(ingress, tab):
    event = tab.person.says("how are you?")
    page = tab.open(f"/conversations/{event['metadata']['conversationID']}")
    expect(page.locator("#said")).to_contain_text("1 of these have no answer yet")
    metadata = {"content": "fine", "conversationID": event["metadata"]["conversationID"]}
    response = Draft(f"answer-{event['id']}", "llm.chat.response", "t", metadata, now_text(), {})
    ended(ingress, tab.person, event["id"], "done", outputs=[response])
    expect(page.locator("#said")).to_contain_text("fine")


def test_a_waterfall_of_a_thousand_spans_is_drawn_in_parts_without_a_stutter(ingress, tab):
    # Given an event with a thousand spans
    event = tab.person.says("hello")
    trace = {"trace": "e" * 32}
    spans = [span(number, 1, **trace) for number in range(2, 1001)]
    ingress.platform.spans.add([span(1, event=event["id"], kind="consumer", **trace), *spans])
    page = tab.open(f"/events/{event['id']}")
    rows = page.locator(".waterfall svg")
    expect(rows).to_have_count(100)
    # When all of them are drawn, part by part
    parts = []
    for drawn in range(200, 1001, 100):
        before = tab.work()
        page.locator("#more-spans button").click()
        expect(rows).to_have_count(drawn)
        parts.append({name: after - before[name] for name, after in tab.work().items()})
    expect(page.locator("#more-spans")).to_have_count(0)
    # Then a part takes the thread of the page no longer than a person notices, and the last ones no longer
    # than the first
    assert median(sum(part.values()) for part in parts) < STUTTER_SECONDS, parts
    layout = [part["LayoutDuration"] for part in parts]
    assert sum(layout[-3:]) < 2 * sum(layout[:3]), parts


def test_rows_that_were_drawn_stay_while_more_spans_come(ingress, tab):
    # Given an event under way with a long waterfall, of which somebody had more drawn
    event = tab.person.says("hello")
    trace = {"trace": "d" * 32}
    spans = [span(number, 1, **trace) for number in range(2, 351)]
    ingress.platform.spans.add([span(1, event=event["id"], kind="consumer", **trace), *spans])
    page = tab.open(f"/events/{event['id']}")
    rows = page.locator(".waterfall svg")
    for drawn in (200, 300):
        page.locator("#more-spans button").click()
        expect(rows).to_have_count(drawn)
    # When more of it comes
    ingress.platform.spans.add([span(351, 1, **trace)])
    expect(page.locator("#trace + p")).to_contain_text("351 spans")
    # Then what was drawn stays, and the rest still comes when it is asked for
    expect(rows).to_have_count(300)
    page.locator("#more-spans button").click()
    expect(rows).to_have_count(351)
    expect(page.locator(".waterfall li > span:first-child").last).to_contain_text("span 351")


def test_a_look_from_before_takes_no_rows_away(ingress, tab):
    # Given an event with a long waterfall, and a look at what is new whose answer is on its way
    event = tab.person.says("hello")
    trace = {"trace": "c" * 32}
    spans = [span(number, 1, **trace) for number in range(2, 251)]
    ingress.platform.spans.add([span(1, event=event["id"], kind="consumer", **trace), *spans])
    page = tab.open(f"/events/{event['id']}")
    rows = page.locator(".waterfall svg")
    expect(rows).to_have_count(100)
    ingress.platform.spans.add([span(251, 1, **trace)])
    held = []

    def hold(route):
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/live?*", hold)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not held:
        assert time.monotonic() < deadline, "the page does not look"
        page.wait_for_timeout(20)  # in which the browser's events are taken
    # When more rows are drawn before it comes
    page.locator("#more-spans button").click()
    expect(rows).to_have_count(200)
    [(route, answer)] = held
    assert "251 spans" in answer.text()
    with page.expect_request("**/live?*drawn=200*"):
        route.fulfill(response=answer)
    # Then they stay, and the next look brings what is new
    expect(page.locator("#trace + p")).to_contain_text("251 spans")
    expect(rows).to_have_count(200)


def test_what_is_drawn_anew_is_no_other_for_whoever_aims_at_it(ingress, tab):
    # Given somebody who has the focus on a button, and presses it
    event = tab.person.says("hello")
    trace = {"trace": "b" * 32}
    ingress.platform.spans.add([span(1, event=event["id"], kind="consumer", **trace)])
    page = tab.open(f"/events/{event['id']}")
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    cancel.hover()
    page.mouse.down()
    # When the page is drawn anew meanwhile
    ingress.platform.spans.add([span(2, 1, **trace)])
    expect(page.locator("#trace + p")).to_contain_text("2 spans")
    # Then the focus is where it was, and the press is one
    expect(cancel).to_be_focused()
    page.mouse.up()
    expect(page.locator("#state")).to_contain_text("cancelled")


def test_an_action_is_approved_as_it_is_shown(ingress, tab):
    page = tab.open("/approvals")
    expect(page.locator("#approvals")).to_contain_text("Nothing was to be approved yet")
    # Given a model that wants to do something, and says it so that it looks like something else
    id_ = an_approval(tab.person, content=f"{SCRIPT} \u202eoga")
    page.get_by_role("link", name="send_message").first.click()
    shown = page.locator("#arguments")
    expect(shown).to_contain_text("<script>window.hacked = 1</script>")
    expect(shown).to_contain_text("\\u202eoga")
    assert page.evaluate("window.hacked") is None
    # When the user agrees
    page.get_by_role("button", name="Approve exactly this").click()
    # Then that is written down, and nothing waits any more
    expect(page.locator("#state")).to_have_text("approved")
    assert tab.person.get(f"/api/approvals/{id_}").json()["state"] == "approved"
    page = tab.open("/")
    expect(page.locator("#count-approvals")).to_have_text("0")


def test_the_log_of_a_run_grows(tab):
    run = GoingRun(tab.person)
    page = tab.open(f"/runs/{run.id}")

    async def print_line(runs, found):
        line = b"<b>first</b> line\n"
        return await runs.append(found, line, found.document["log"]["bytes"] + len(line))

    run.change(print_line)
    expect(page.locator("#log")).to_contain_text("<b>first</b> line")
    run.change(print_line)
    expect(page.locator("#log > span")).to_have_count(4)
    run.end()
    expect(page.locator("#state")).to_have_text("succeeded")
    expect(page.locator("#log-more")).to_have_count(0)


def test_dead_letters_are_replayed_several_at_a_time(ingress, tab):
    for number in range(3):
        event = tab.person.says(f"number {number}")
        ended(ingress, tab.person, event["id"], "dead", error={"code": "x", "message": "no"})
    page = tab.open("/dead")
    ticks = page.get_by_role("checkbox")
    expect(ticks).to_have_count(3)
    for number in range(2):
        ticks.nth(number).check()
    page.get_by_role("button", name="Replay the ticked").click()
    expect(page.get_by_role("checkbox")).to_have_count(1)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Discard the ticked").click()
    expect(page.locator(".empty")).to_contain_text("No event is dead")


def of_user(page, user):
    """The rows of a user, and not those of one whose name only begins so."""
    return page.get_by_role("row").filter(has=page.get_by_text(user.username, exact=True))


def test_an_operator_settles_what_died_of_several_users(ingress, browser):
    # Given two users with a dead event each
    users = ingress.person(), ingress.person()
    lost = [(user, user.says("lost")["id"]) for user in users]
    for user, event in lost:
        ended(ingress, user, event, "dead", error={"code": "x", "message": "no"})
    # When an operator goes to what all users have, with the keyboard alone, and ticks the two
    with tab_of(browser, ingress.person(role="operator")) as tab:
        page = tab.page
        reach(page, "all users")
        page.keyboard.press("Enter")
        expect(page.locator("#everybody")).to_contain_text("users together")
        page.get_by_role("link", name="Dead letters").click()
        for user in users:
            of_user(page, user).get_by_role("checkbox").check()
        page.get_by_role("button", name="Discard the ticked").click()
        for user in users:
            expect(of_user(page, user)).to_have_count(0)
    # Then both have been settled, each in its user's log
    states = [user.get(f"/api/events/{event}").json()["state"] for user, event in lost]
    assert states == ["cancelled", "cancelled"]


@pytest.mark.timeout(600)  # some twenty pages
def test_every_page_is_for_everybody(ingress, browser):
    """No serious fault by axe-core, dark and light, and nothing beside a phone of 360 pixels, or a desk."""
    person = ingress.person(role="operator")
    event, _ = answered(ingress, person, "hello " + "long" * 60, "and " + "longer" * 60)
    dead = person.says("and dead")
    ended(ingress, person, dead["id"], "dead", error={"code": "x", "message": "out of luck " + "x" * 200})
    tick = {"type": "user.message", "metadata": {"content": "hello"}}
    schedule = person.request("POST", "/api/schedule", json={"cron": "@yearly", "event": tick}).json()["id"]
    hook = {"url": "https://example.com/" + "x" * 100, "name": "w"}
    webhook = person.request("POST", "/api/webhooks", json=hook).json()["id"]
    person.request("POST", f"/api/webhooks/{webhook}/test")
    repo, _ = repository_of(person, files={"a.txt": "one\n"})
    run = GoingRun(person)
    approval = an_approval(person, content="long" * 60)
    failed = span(1, event=event["id"], trace="f" * 32, kind="consumer", status="error", status_message="no")
    ingress.platform.spans.add([failed, span(2, 1, trace="f" * 32)])
    pages = [
        "/",
        "/events",
        f"/events/{event['id']}",
        "/conversations",
        f"/conversations/{event['metadata']['conversationID']}",
        "/approvals",
        f"/approvals/{approval}",
        "/runs",
        f"/runs/{run.id}",
        "/schedules",
        f"/schedules/{schedule}",
        "/dead",
        "/repos",
        f"/repos/{repo}",
        "/webhooks",
        f"/webhooks/{webhook}",
        "/users",
        "/all/",
        "/all/events",
        "/all/dead",
    ]
    with tab_of(browser, person, viewport=PHONE) as tab:
        faults = {path: look(tab, path) for path in pages}
        # the menu is one line where there is room for it, whatever somebody is called
        tab.page.locator(".who .name").evaluate("name => name.textContent = 'm'.repeat(64)")
        tops = "[...document.querySelectorAll('header a, header button')].map(each => each.offsetTop)"
        assert max(tab.page.evaluate(tops)) - min(tab.page.evaluate(tops)) < 20
    assert not {path: found for path, found in faults.items() if found}


def look(tab, path):
    """Name what is wrong with a page, which is loaded once: light and dark, small and large."""
    page = tab.page
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light")
    tab.open(path)
    faults = tab.serious()
    page.emulate_media(color_scheme="dark")
    # in the dark, only colours are others
    faults += [f"dark: {each}" for each in tab.serious("color-contrast")]
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > size["width"]:
            faults.append(f"{wide} pixels wide where there are {size['width']}")
    return faults


def test_the_login_is_for_everybody(ingress, browser, person):
    tab = Tab(browser, person, viewport=PHONE)
    for path in ("/login", "/register"):
        tab.open(path)
        assert tab.serious() == []
    tab.close()
    assert tab.faults == []
