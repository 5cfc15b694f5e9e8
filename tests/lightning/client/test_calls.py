"""Both clients against a platform that misbehaves: retries, renewal of tokens, errors, following a log."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lightning.client import ClientError
from ops.ports import free_port
from tests.fake_platform import FakePlatform, Fault, delta_frame, frame, serving


def logged_in(connect, platform, **options):
    client = connect(platform.url, **options)
    client.log_in("ada", "right")
    return client


def test_an_event_whose_answer_was_lost_is_recorded_once(connect, platform):
    # Given a connection that breaks after the event was recorded, twice
    client = logged_in(connect, platform)
    platform.faults.append(Fault("POST", "/api/events", times=2))
    # When an event is sent
    event = client.send("user.message", {"content": "once"})
    # Then it was posted until an answer came, and is one event
    assert platform.count("POST", "/api/events") == 3
    assert [each["id"] for each in platform.events] == [event["id"]]
    assert len({body["timestamp"] for body in platform.bodies}) == 1


def test_a_key_that_is_given_is_used(connect, platform):
    client = logged_in(connect, platform)
    first = client.send("user.message", {"content": "a"}, idempotency_key="mine")
    assert client.send("user.message", {"content": "a"}, idempotency_key="mine")["id"] == first["id"]
    assert client.send("user.message", {"content": "a"})["id"] != first["id"]


@pytest.mark.parametrize("as_date", [False, True])
def test_a_busy_platform_is_asked_again_no_sooner_than_it_says(connect, platform, as_date):
    client = logged_in(connect, platform)
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    headers = {"retry-after": moment if as_date else "1"}
    platform.faults.append(Fault("GET", "/api/events", 503, headers=headers))
    began = time.monotonic()
    assert client.events(after=0, limit=1) == {"events": [], "next": None}
    # a date has whole seconds
    assert time.monotonic() - began >= (0.5 if as_date else 1.0)
    assert platform.count("GET", "/api/events") == 2


def test_a_wait_that_is_too_long_is_the_callers_to_decide(connect, platform):
    client = logged_in(connect, platform, retry_seconds=5)
    platform.faults.append(Fault("GET", "/api/events", 503, headers={"retry-after": "60"}))
    with pytest.raises(ClientError) as raised:
        client.events(after=0, limit=1)
    assert (raised.value.status, raised.value.code, raised.value.retry_after) == (503, "busy", 60.0)
    assert raised.value.temporary


def test_repetition_has_an_end(connect, platform):
    client = logged_in(connect, platform, retry_seconds=0.5)
    platform.faults.append(Fault("GET", "/api/events", 503, times=1000))
    began = time.monotonic()
    with pytest.raises(ClientError, match="busy"):
        client.events(after=0, limit=1)
    assert time.monotonic() - began < 2
    assert platform.count("GET", "/api/events") > 1


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_parameter"), (500, "internal")])
def test_what_cannot_be_helped_is_not_repeated(connect, platform, status, code):
    client = logged_in(connect, platform)
    platform.faults.append(Fault("GET", "/api/events", status, code))
    with pytest.raises(ClientError) as raised:
        client.events(after=0, limit=1)
    assert (raised.value.status, raised.value.code) == (status, code)
    assert platform.count("GET", "/api/events") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\udcff", {"\ud800": 1}])
def test_what_json_cannot_hold_is_an_error_of_ours(connect, platform, value):
    # Given a number, or half a character, that JSON has no way to write
    client = logged_in(connect, platform)
    # When an event is to hold it
    with pytest.raises(ClientError, match="NaN, infinity or half a character") as raised:
        client.send("user.message", {"content": value})
    # Then nothing was sent, and it is not tried again
    assert not raised.value.temporary
    assert platform.count("POST", "/api/events") == 0


def test_what_is_nested_without_end_is_an_error_of_ours(connect, platform):
    client = logged_in(connect, platform)
    nested = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(ClientError, match="too deep"):
        client.send("user.message", {"content": nested})


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.event("\udcff"),
        lambda client: client.events(type="\udcff"),
        lambda client: client.log_in("\udcff", "right"),
        lambda client: client.remove_file("mine", "\udcff", message="gone"),
    ],
    ids=["path", "query", "login", "file"],
)
def test_half_a_character_is_sent_nowhere(connect, platform, ask):
    client = logged_in(connect, platform)
    sent = len(platform.requests)
    with pytest.raises(ClientError, match="half a character"):
        ask(client)
    assert len(platform.requests) == sent


@pytest.mark.parametrize("key", ["cl\u00e9", "\udcff"])
def test_a_key_that_no_header_can_hold_is_an_error_of_ours(connect, platform, key):
    client = logged_in(connect, platform)
    with pytest.raises(ClientError, match="ASCII"):
        client.send("user.message", {"content": "a"}, idempotency_key=key)


def test_an_id_that_is_too_long_is_an_error_of_ours(connect, platform):
    client = logged_in(connect, platform)
    with pytest.raises(ClientError, match="too long"):
        client.event("a" * 100_000)


@pytest.mark.parametrize("url", ["http://127.0.0.1/\udcff", "http://..", f"http://{'a' * 64}.invalid"])
def test_an_address_that_names_no_machine_is_an_error_of_ours(connect, url):
    with pytest.raises(ClientError, match="check the address"):
        connect(url, token="token-0")


def test_an_address_may_be_one_of_ipv6(connect):
    with pytest.raises(ClientError, match=r"lightning up"):
        connect(f"http://[::1]:{free_port()}").health()


@pytest.mark.parametrize("status", [None, 503])
def test_what_may_have_been_done_is_not_repeated(connect, platform, status):
    # Given a cancel, which has no key, whose answer is lost
    client = logged_in(connect, platform)
    platform.script = lambda _: [("hold",)]
    event = client.send("llm.chat", {"content": "hold"})
    platform.faults.append(Fault("POST", f"/api/events/{event['id']}/cancel", status))
    with pytest.raises(ClientError):
        client.cancel(event["id"])
    assert platform.count("POST", f"/api/events/{event['id']}/cancel") == 1


def test_a_platform_that_comes_back_is_found(connect):
    # Given a client whose platform is away
    platform, port = FakePlatform(), free_port()
    client = connect(f"http://127.0.0.1:{port}", token="token-0")
    # When it asks, and the platform comes back meanwhile
    seen = []
    asking = threading.Thread(target=lambda: seen.append(client.events(after=0, limit=1)))
    asking.start()
    time.sleep(0.3)
    with serving(platform, port):
        asking.join(20)
    # Then there is an answer
    assert seen == [{"events": [], "next": None}]


def test_nobody_there_is_said_at_once_when_somebody_logs_in(connect):
    url = f"http://127.0.0.1:{free_port()}"
    client = connect(url)
    began = time.monotonic()
    with pytest.raises(ClientError, match=r"lightning up") as raised:
        client.log_in("ada", "right")
    assert raised.value.status is None
    with pytest.raises(ClientError, match=r"lightning up"):
        client.health()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "ftp://127.0.0.1", "127.0.0.1:8000"])
def test_an_address_that_is_none_is_an_error_of_ours(connect, url):
    with pytest.raises(ClientError):
        connect(url, token="token-0").events(after=0, limit=1)


def test_an_access_token_that_is_refused_is_renewed_once(connect, platform):
    # Given a client whose access token the platform has forgotten
    client = logged_in(connect, platform)
    platform.access.clear()
    # When it asks
    client.events(after=0, limit=1)
    # Then it has renewed the token, and keeps the new one, and the refresh token that came with it
    assert platform.count("POST", "/api/token/refresh") == 1
    client.events(after=0, limit=1)
    assert platform.count("POST", "/api/token/refresh") == 1
    platform.access.clear()
    client.events(after=0, limit=1)
    assert platform.count("POST", "/api/token/refresh") == 2


def test_a_token_that_stays_refused_is_an_error(connect, platform):
    client = logged_in(connect, platform)
    platform.faults.append(Fault("GET", "/api/events", 401, "invalid_token", times=5))
    with pytest.raises(ClientError) as raised:
        client.events(after=0, limit=1)
    assert raised.value.status == 401
    assert platform.count("GET", "/api/events") == 2
    assert platform.count("POST", "/api/token/refresh") == 1


def test_an_access_token_is_renewed_before_it_ends(connect, platform):
    platform.expires_in = 1
    client = logged_in(connect, platform)
    old = client.headers()
    time.sleep(0.95)
    client.events(after=0, limit=1)
    assert platform.count("POST", "/api/token/refresh") == 1
    assert platform.count("GET", "/api/events") == 1
    assert client.headers() != old


def test_a_renewal_that_fails_leaves_a_token_that_still_does(connect, platform):
    platform.expires_in = 1
    client = logged_in(connect, platform)
    platform.faults.append(Fault("POST", "/api/token/refresh", 503))
    time.sleep(0.95)
    assert client.events(after=0, limit=1)["events"] == []


def test_a_server_without_refresh_tokens_is_borne_with(connect, platform):
    platform.refresh = ""
    platform.expires_in = 0
    client = logged_in(connect, platform)
    assert client.events(after=0, limit=1)["events"] == []
    platform.access.clear()
    with pytest.raises(ClientError) as raised:
        client.events(after=0, limit=1)
    assert (raised.value.status, raised.value.code) == (401, "invalid_token")
    assert platform.count("POST", "/api/token/refresh") == 0


def test_a_refused_refresh_token_is_not_tried_again(connect, platform):
    client = logged_in(connect, platform)
    platform.refresh = "another"
    platform.access.clear()
    for _ in range(2):
        with pytest.raises(ClientError):
            client.events(after=0, limit=1)
    assert platform.count("POST", "/api/token/refresh") == 1


def test_many_at_a_time_renew_the_token_once(connect, platform):
    # Given a refresh token that does once only
    client = logged_in(connect, platform)
    platform.access.clear()
    platform.delays["/api/token/refresh"] = 0.3
    # When many threads find their access token refused
    failures = []

    def ask():
        try:
            client.events(after=0, limit=1)
        except ClientError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    # Then nobody fails
    assert failures == []
    assert platform.count("POST", "/api/token/refresh") == 1


def test_the_log_is_followed_over_cut_streams(connect, platform):
    # Given a log, and a follower that has seen a part of it
    for number in range(3):
        platform.record("user.message", {"content": str(number)})
    client = logged_in(connect, platform)
    arriving = client.tail(1)
    seen = [next(arriving)["seq"], next(arriving)["seq"]]
    # When the stream is cut, one connection is refused, and the log goes on
    platform.faults.append(Fault("GET", "/api/stream", 503))
    platform.cut()
    platform.do(lambda: platform.record("user.message", {"content": "3"}))
    seen.append(next(arriving)["seq"])
    # And when its token is over besides
    platform.access.clear()
    platform.cut()
    platform.do(lambda: platform.record("user.message", {"content": "4"}))
    seen.append(next(arriving)["seq"])
    arriving.close()
    # Then it has seen each once and in order
    assert seen == [2, 3, 4, 5]


def test_following_passes_over_deltas_and_repetitions(connect, platform):
    first = platform.record("user.message", {"content": "0"})
    client = logged_in(connect, platform)
    arriving = client.tail()
    assert next(arriving)["seq"] == 1

    def noise():
        event = {**first, "metadata": {"conversationID": "c"}}
        platform.publish(delta_frame(event, 1, 0, "piece"))
        platform.publish(frame(first))
        platform.publish("event: news\r\ndata: {}\r\n\r\n: comment\r\n\r\n")
        platform.record("user.message", {"content": "1"})

    platform.do(noise)
    assert next(arriving)["seq"] == 2
    arriving.close()


def test_a_stream_that_is_refused_for_good_ends_the_following(connect, platform):
    client = logged_in(connect, platform)
    platform.faults.append(Fault("GET", "/api/stream", 403, "forbidden"))
    with pytest.raises(ClientError) as raised:
        next(client.tail())
    assert raised.value.status == 403


def test_waiting_has_an_end(connect, platform):
    client = logged_in(connect, platform)
    platform.script = lambda _: [("hold",)]
    event = client.send("llm.chat", {"content": "hold"})
    with pytest.raises(ClientError, match="not over"):
        client.wait(event, timeout_seconds=0.5)
