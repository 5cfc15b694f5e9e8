"""The chat in a real browser, beside a real platform."""

import json
import re
import uuid
from contextlib import contextmanager

import httpx2
import pytest
from playwright.sync_api import expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from lightning.domain.run_tokens import mint
from lightning.domain.tokens import TokenIssuer
from ops.chaos.installation import PASSWORD, until
from tests.api.chat.conftest import ChatTab, patient
from tests.api.chat.proxy import proxy
from tests.api.conftest import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(180)


@contextmanager
def tab_of(context, chat, name):
    """Log somebody in who has an account, and see at the end that nothing went wrong behind their back."""
    tab = ChatTab(context, chat.url, name)
    try:
        tab.log_in()
        expect(tab.page.locator("#chat-input")).to_be_visible()
        tab.connected()
        yield tab
        assert tab.faults == []
    finally:
        tab.close()


@pytest.fixture(scope="module")
def ada(chat):
    with chat.client("ada") as client:
        yield client


@pytest.fixture
def tab(context, chat, ada):
    with tab_of(context, chat, "ada") as tab:
        yield tab


def test_an_answer_is_seen_growing_and_is_there_after_a_reload(chat, ada, tab):
    # Given a model that stops in the middle
    tab.say("Take your time")
    until(lambda: chat.model.held() == 1, "the model writes")
    # Then what there is of its answer is shown
    expect(tab.last_answer).to_contain_text("one two")
    assert "three" not in tab.last_answer.inner_text()
    chat.model.release()
    expect(tab.last_answer).to_contain_text("one two three four")
    # And the link beside it leads to its trace
    [said] = [
        e for e in ada.events(type="llm.chat")["events"] if e["metadata"]["content"] == "Take your time"
    ]
    link = tab.page.get_by_role("link", name="Trace")
    expect(link).to_have_attribute("href", f"{chat.installation.url}/dashboard/events/{said['id']}")
    # When the page is loaded anew, then the log tells it all
    tab.page.reload()
    tab.open("Take your time")
    expect(tab.last_answer).to_contain_text("one two three four")
    expect(tab.page.get_by_text("Take your time", exact=True).last).to_be_visible()
    tab.say("and on")
    expect(tab.last_answer).to_contain_text("You said: and on")
    assert tab.conversation(ada) == said["metadata"]["conversationID"]


def test_what_is_stopped_is_cancelled(chat, ada, tab):
    tab.say("Take your time, please")
    until(lambda: chat.model.held() == 1, "the model writes")
    expect(tab.last_answer).to_contain_text("one two")
    tab.page.locator("#stop-button").click()
    until(lambda: chat.model.held() == 0, "the model is left alone")
    [said] = [e for e in ada.events(type="llm.chat")["events"] if "please" in e["metadata"]["content"]]
    until(lambda: ada.event(said["id"])["state"] == "cancelled", "it is cancelled")


def test_an_attached_file_is_in_the_repository(ada, tab):
    file = {"name": "numbers.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
    expect(tab.page.locator("#upload-button")).to_be_enabled()
    tab.page.locator("input[type=file]").first.set_input_files(file)
    expect(tab.page.get_by_text("numbers.csv")).to_be_visible()
    tab.say("Look at it")
    expect(tab.last_answer).to_contain_text("[Attached, in the repository: numbers.csv]")
    assert ada.read_file("chat", "numbers.csv") == b"a,b\n1,2\n"


def test_a_run_and_a_file_are_approved_shown_and_had(ada, tab):
    # Given a model that wants to run an agent, and to write a file
    tab.say("Do both")
    # Then each is asked for, exactly
    expect(tab.page.get_by_text("canary-of-the-run")).to_be_visible()
    expect(tab.page.get_by_text("canary-of-the-file")).to_be_visible()
    buttons = tab.page.get_by_role("button", name="Approve exactly this")
    expect(buttons).to_have_count(2)
    # When the page is loaded anew, they can be answered all the same
    tab.page.reload()
    tab.open("Do both")
    expect(buttons).to_have_count(2)
    buttons.first.click()
    expect(buttons).to_have_count(1)
    buttons.first.click()
    expect(buttons).to_have_count(0)
    assert {each["state"] for each in ada.approvals()["approvals"]} == {"approved"}
    # Then the run is a step, with what it printed
    step = tab.page.locator("[data-step-type=tool]")
    expect(step).to_contain_text("echo: succeeded")
    expect(step).to_contain_text("canary-of-the-run")
    # And the file can be had beside the answer, now and later
    expect(tab.page.get_by_text("Both are done.")).to_be_visible()
    expect(tab.page.get_by_text("Under way.")).to_have_count(0)
    for _ in range(2):
        with tab.page.expect_download() as download:
            # a mouse could miss it: the page scrolls to its end by itself, and not at once
            tab.page.get_by_role("link", name="note.txt").dispatch_event("click")
        assert download.value.path().read_text() == "canary-of-the-file"
        tab.reload()
    expect(tab.page.get_by_text("Both are done.")).to_be_visible()


def asked_by(chat, client, run_id, question, *options):
    """Ask as the run does."""
    issuer = TokenIssuer(chat.installation.settings.jwt_signing_key.get_secret_value())
    bearer = {"authorization": f"Bearer {mint(issuer, {'id': run_id, 'userID': client.user_id}, 60)}"}
    form = {"question": question, "options": list(options)}
    url = f"{chat.installation.url}/run/questions"
    answer = httpx2.post(url, json=form, headers=bearer, trust_env=False)
    assert answer.status_code == 201, answer.text


def test_what_a_run_asks_is_answered_and_told_after_a_reload(chat, ada, tab):
    # Given a run that goes on, and asks
    tab.say("Work and ask")
    tab.page.get_by_role("button", name="Approve exactly this").click()
    until(lambda: chat.model.held() == 1, "the agent works")
    run = ada.runs(limit=1)["runs"][0]["id"]
    asked_by(chat, ada, run, "Which colour, of all?")
    asked_by(chat, ada, run, "Which branch?", "main", "next")
    asked_by(chat, ada, run, "Is anybody there?")
    write = tab.page.get_by_role("button", name="Write an answer")
    expect(write).to_have_count(3)
    # When the page is loaded anew, and its user chooses, or writes
    tab.page.reload()
    tab.open("Work and ask")
    tab.page.get_by_role("button", name="next", exact=True).click()
    expect(write).to_have_count(2)
    write.first.click()
    expect(tab.page.get_by_text("What you write next goes to the run.")).to_be_visible()
    tab.say("blue")
    expect(write).to_have_count(1)
    told = [(each["content"], each["questionID"] is not None) for each in ada.run(run)["messages"]]
    assert told == [("next", True), ("blue", True)]
    # Then the run goes on, and nobody is asked any more
    chat.model.release()
    step = tab.page.locator("[data-step-type=tool]")
    for _ in range(2):
        expect(step).to_contain_text("openai_shell: succeeded")
        expect(step).to_contain_text("It is blue, and done.")
        for text in ("Which colour, of all?", "Answered: blue", "Answered: next", "Nobody has answered."):
            expect(tab.page.get_by_text(text)).to_be_visible()
        expect(write).to_have_count(0)
        expect(tab.last_answer).to_contain_text("have their results now. Go on.")
        # and all of it is there after a reload, too
        tab.reload()


def test_a_model_that_takes_no_tools_is_asked_without(ada, tab):
    tab.say("No tools, please")
    expect(tab.page.get_by_text("tools are not supported")).to_be_visible()
    tab.page.get_by_role("button", name="Go on without tools").click()
    expect(tab.page.get_by_role("button", name="Go on without tools")).to_have_count(0)
    assert ada.conversation(tab.conversation(ada))["tools"] == []
    tab.say("once more")
    expect(tab.last_answer).to_contain_text("You said: once more")


def test_it_stands_on_one_host_with_the_ingress_behind_a_proxy(context, chat, ada):
    with proxy(chat.url, chat.installation.url) as url:
        # Then a log-in is told to be behind https, and counts for the browser's address
        answer = httpx2.post(
            f"{url}/chat/login",
            data={"username": "ada", "password": PASSWORD},
            headers={"origin": url},
            trust_env=False,
        )
        assert (answer.status_code, answer.headers["set-cookie"][-8:]) == (200, "; Secure")
        sessions = httpx2.get(f"{url}/api/sessions", headers=ada.headers(), trust_env=False).json()
        assert "203.0.113.77" in {each["address"] for each in sessions["sessions"]}
        # And the page works, WebSocket and all
        tab = ChatTab(context, url, "ada")
        tab.log_in()
        tab.say("behind a proxy")
        expect(tab.last_answer).to_contain_text("You said: behind a proxy")
        assert tab.faults == []
        tab.close()


def test_its_pages_are_for_everybody(context, chat, ada):
    """No serious fault by axe-core, dark and light: at the log-in, before a word, and amid runs."""
    tab = ChatTab(context, chat.url, "ada")
    found = {}
    tab.page.goto(f"{chat.url}/chat/login")
    for theme in ("dark", "light"):
        tab.page.evaluate("theme => localStorage.setItem('vite-ui-theme', theme)", theme)
        tab.page.goto(f"{chat.url}/chat/login")
        expect(tab.page.locator(f"html.{theme}")).to_be_attached()
        expect(tab.page.locator("#password")).to_be_visible()
        found[theme, "log-in"] = tab.serious()
        tab.log_in()
        expect(tab.page.locator("#chat-input")).to_be_visible()
        found[theme, "nothing"] = tab.serious()
        tab.open("Work and ask")
        expect(tab.page.locator("[data-step-type=tool]")).to_contain_text("openai_shell: succeeded")
        if theme == "dark":
            tab.say("Offer me buttons")
        expect(tab.page.get_by_role("button", name="Refuse")).to_be_visible()
        found[theme, "chat"] = tab.serious()
        tab.context.clear_cookies()
    assert {place: faults for place, faults in found.items() if faults} == {}
    assert tab.faults == []
    tab.close()


def test_what_is_refused_is_not_done(ada, tab):
    tab.say("Write it")
    tab.page.get_by_role("button", name="Refuse").click()
    expect(tab.page.get_by_text("It is refused.")).to_be_visible()
    expect(tab.last_answer).to_contain_text("have their results now. Go on.")  # the model is told
    assert "refused" in {each["state"] for each in ada.approvals()["approvals"]}


def test_what_goes_on_behind_an_answer_is_cancelled(ada, tab):
    tab.say("Ask me first")
    tab.page.get_by_role("button", name="Cancel").click()
    expect(tab.page.get_by_role("button", name="Cancel")).to_have_count(0)
    [said] = [e for e in ada.events(type="llm.chat")["events"] if e["metadata"]["content"] == "Ask me first"]
    assert "cancelledAt" in ada.event(said["id"])
    # And after a reload it is not under way any more
    tab.page.reload()
    tab.open("Ask me first")
    expect(tab.page.get_by_text("write_files waits for your approval")).to_be_visible()
    expect(tab.page.get_by_text("It is cancelled.")).to_be_visible()
    tab.say("and on")
    expect(tab.last_answer).to_contain_text("You said: and on")
    assert tab.page.get_by_role("button", name="Cancel").count() == 0
    assert tab.page.get_by_role("button", name="Approve exactly this").count() == 0


def test_a_script_stays_text_and_a_picture_of_another_host_is_not_fetched(context, chat, ada):
    tab = ChatTab(context, chat.url, "ada")
    failed = []
    tab.page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    tab.log_in()
    tab.say("Be evil <script>window.hacked = 3</script>")
    expect(tab.last_answer).to_contain_text("<script>window.hacked = 1</script>")
    expect(tab.last_answer.get_by_role("img", name="pixel")).to_be_attached()
    assert tab.page.evaluate("window.hacked") is None
    # the browser was not allowed to ask for it
    until(lambda: bool(failed), "the picture is refused")
    assert {each for each in failed if "evil" in each[0]} == {("https://evil.example/pixel.png", "csp")}
    tab.close()


def test_two_users_see_nothing_of_each_other(browser, chat, ada, tab):
    tab.say("canary of ada")
    expect(tab.last_answer).to_contain_text("You said: canary of ada")
    thread = tab.conversation(ada)
    commit = ada.write_file("chat", "secret.txt", b"canary")["commit"]
    repo = ada.repository("chat")["id"]
    with tab_of(patient(browser), chat, "bob") as foreign:
        ask = foreign.page.request
        origin = {"origin": chat.url}
        threads = {"pagination": {"first": 20}, "filter": {}}
        listed = ask.post(f"{chat.url}/chat/project/threads", data=threads, headers=origin)
        assert listed.json()["data"] == []
        assert ask.get(f"{chat.url}/chat/project/thread/{thread}").status == 404
        other = {"threadId": thread}
        assert ask.delete(f"{chat.url}/chat/project/thread", data=other, headers=origin).status == 404
        rename = {**other, "name": "mine"}
        assert ask.put(f"{chat.url}/chat/project/thread", data=rename, headers=origin).status == 404
        assert ask.get(f"{chat.url}/chat/files/{repo}/{commit}/secret.txt").status == 404
        foreign.page.goto(f"{chat.url}/chat/thread/{thread}")
        expect(foreign.page.get_by_text("Couldn't resume chat")).to_be_visible()
        assert "canary" not in foreign.page.content()
    assert tab.page.request.get(f"{chat.url}/chat/files/{repo}/{commit}/secret.txt").body() == b"canary"


def test_a_wrong_password_is_told_and_who_logs_out_is_out(context, chat, ada):
    tab = ChatTab(context, chat.url, "ada")
    tab.log_in("wrong")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    tab.log_in()
    expect(tab.page.locator("#chat-input")).to_be_visible()
    [cookie] = [each for each in tab.context.cookies() if each["name"] == "lightning_chat"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    sessions = len(list((chat.installation.data / "chat/sessions").glob("*.json")))
    tab.page.locator("#user-nav-button").click()
    tab.page.get_by_role("menuitem", name="Logout").click()
    expect(tab.page.locator("#password")).to_be_visible()
    assert len(list((chat.installation.data / "chat/sessions").glob("*.json"))) == sessions - 1
    # the cookie that was good opens nothing any more
    tab.context.add_cookies([cookie])
    assert tab.page.request.get(f"{chat.url}/chat/user").json() is None
    tab.close()


def test_nothing_secret_is_in_the_log_and_no_token_in_a_browser(chat, tab):
    kept = [
        json.loads(each.read_text()) for each in (chat.installation.data / "chat/sessions").glob("*.json")
    ]
    tokens = [each[name] for each in kept for name in ("access_token", "refresh_token")]
    assert tokens
    printed = chat.log.read_text()
    state = json.dumps(tab.context.storage_state()) + json.dumps(
        tab.page.evaluate("Object.entries(localStorage)")
    )
    for secret in [*tokens, *chat.installation.settings.secret_values()]:
        assert secret not in printed
        assert secret not in state


@contextmanager
def visiting(chat, name, **headers):
    """Log somebody in without a browser, as a page of the chat does."""
    http = httpx2.Client(base_url=f"{chat.url}/chat", headers={"origin": chat.url}, trust_env=False)
    with http:
        answer = http.post("/login", data={"username": name, "password": PASSWORD}, headers=headers)
        assert answer.status_code == 200, answer.text
        yield http, answer


def test_only_pages_of_the_chat_get_something_done(chat):
    threads = {"pagination": {"first": 20}, "filter": {}}
    with visiting(chat, "bob") as (http, _):
        assert http.post("/project/threads", json=threads).status_code == 200
        for origin in (
            "https://evil.example",
            "null",
            "",
            f"http://127.0.0.1:{chat.installation.settings.port}",
        ):
            elsewhere = {"origin": origin}
            assert http.post("/project/threads", json=threads, headers=elsewhere).status_code == 403
            assert http.post("/logout", headers=elsewhere).status_code == 403
        answer = http.get("/user", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert http.post("/project/threads", content=b"x" * 70_000).status_code == 413
        assert http.post("/project/file?session_id=x", content=b"x" * (9 << 20)).status_code == 413


def test_a_log_in_counts_for_the_address_of_the_browser(chat):
    with (
        chat.client("bob") as bob,
        visiting(chat, "bob", **{"x-forwarded-for": "203.0.113.9"}),
        httpx2.Client(base_url=chat.installation.url, headers=bob.headers(), trust_env=False) as http,
    ):
        addresses = [each["address"] for each in http.get("/api/sessions").json()["sessions"]]
        assert addresses.count("203.0.113.9") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/mcp"), ("PUT", "/feedback"),
        ("GET", "/project/share/x"), ("PUT", "/project/thread/share"), ("POST", "/auth/jwt"),
        ("POST", "/auth/header"), ("GET", "/auth/oauth/github"), ("GET", "/copilot/index.js"),
        ("PUT", "/project/element"), ("GET", "/share/x"), ("GET", "/anything"),
    ],
)  # fmt: skip
def test_nothing_of_chainlit_is_there_that_the_page_does_not_need(chat, method, path):
    with visiting(chat, "bob") as (http, _):
        assert http.request(method, path).status_code in {404, 405}


def test_its_page_names_no_other_host_and_lets_no_other_script_run(chat):
    with visiting(chat, "bob") as (http, login):
        page = http.get("/")
        assert page.headers["cache-control"] == "no-store"
        assert re.findall(r"https?://[^\s\"']+", page.text) == []
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
        assert "'unsafe-eval'" not in policy
        assert "secure" not in login.headers["set-cookie"].lower()
        assert http.get("/favicon").headers["x-content-type-options"] == "nosniff"
        # what it is made of, which is large, is fetched once; what is not there, may be there another time
        [script] = re.findall(r'src="/chat(/assets/[^"]+)"', page.text)
        assert http.get(script).headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "cache-control" not in http.get("/assets/nothing.js").headers
    with visiting(chat, "bob", **{"x-forwarded-proto": "https"}) as (_, login):
        assert login.headers["set-cookie"].endswith("; Secure")


@contextmanager
def socket_of(chat, http, **auth):
    """Connect as the page does, and give what is answered to it."""
    address = f"{chat.url.replace('http', 'ws')}/chat/ws/socket.io/?EIO=4&transport=websocket"
    cookie = {"cookie": f"lightning_chat={http.cookies['lightning_chat']}"}
    with connect(address, origin=chat.url, additional_headers=cookie, proxy=None) as socket:
        assert socket.recv(timeout=PATIENCE_SECONDS).startswith("0")
        socket.send("40" + json.dumps({"clientType": "webapp", **auth}))
        yield socket, socket.recv(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("session", ["../../victim", "/victim", "..", "", None])
def test_a_session_is_no_path(chat, session):
    """Chainlit makes a folder of its name, and removes it with all that is in it."""
    with visiting(chat, "bob") as (http, _), socket_of(chat, http, sessionId=session) as (_, answer):
        assert answer.startswith("44")  # refused, as Socket.IO says it


def test_what_is_uploaded_and_not_sent_is_bounded(chat):
    session = str(uuid.uuid4())
    with visiting(chat, "bob") as (http, _), socket_of(chat, http, sessionId=session) as (_, answer):
        assert answer.startswith("40")

        def upload(size):
            file = {"file": ("a.bin", b"x" * size, "application/octet-stream")}
            return http.post(f"/project/file?session_id={session}", files=file).status_code

        assert upload((8 << 20) + 1) == 400  # Chainlit's own bound
        assert upload(8 << 20) == 200
        assert [upload(8 << 20) for _ in range(8)] == [200] * 7 + [413]


def test_a_page_that_connects_twice_at_once_is_shown_its_thread(chat, ada):
    said = ada.wait(ada.send("llm.chat", {"content": "Are you there?"}))
    asked = {"sessionId": str(uuid.uuid4()), "threadId": said["outputs"][0]["metadata"]["conversationID"]}
    with (
        visiting(chat, "ada") as (http, _),
        socket_of(chat, http, **asked) as (_, first),
        socket_of(chat, http, **asked) as (socket, second),
    ):
        assert first.startswith("40")
        assert second.startswith("40")
        socket.send('42["connection_successful"]')
        while "You said: Are you there?" not in (frame := socket.recv(timeout=PATIENCE_SECONDS)):
            assert "resume_thread_error" not in frame


def test_a_socket_is_not_opened_to_pages_of_others(chat):
    with visiting(chat, "bob") as (http, _):
        address = f"{chat.url.replace('http', 'ws')}/chat/ws/socket.io/?EIO=4&transport=websocket"
        cookie = {"cookie": f"lightning_chat={http.cookies['lightning_chat']}"}
        for origin in ("https://evil.example", None):
            with pytest.raises(InvalidStatus) as refused:
                connect(address, origin=origin, additional_headers=cookie, proxy=None)
            assert refused.value.response.status_code == 403
